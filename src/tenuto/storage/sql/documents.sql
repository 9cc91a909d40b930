-- put: documents; one whose digest is there stays as it is
INSERT INTO documents (digest, namespace, name, version, source, origin, kind) VALUES (?, ?, ?, ?, ?, ?, ?)...
ON CONFLICT (digest) DO NOTHING

-- document: one by digest
SELECT digest, namespace, name, version, source, origin, kind FROM documents WHERE digest = :digest

-- find: the newest of a name and version
SELECT digest, namespace, name, version, source, origin, kind FROM documents
WHERE namespace = :namespace AND name = :name AND version = :version
ORDER BY id DESC LIMIT 1

-- versions: all versions of a name
SELECT DISTINCT version FROM documents WHERE namespace = :namespace AND name = :name
