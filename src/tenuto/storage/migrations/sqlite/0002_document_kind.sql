-- Workflows in Python are stored beside documents: `source` is then the code that a run began with.

ALTER TABLE documents ADD COLUMN kind TEXT NOT NULL DEFAULT 'document';
