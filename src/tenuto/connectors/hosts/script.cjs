// Runs the JavaScript of a workflow in a child process: `node script.cjs JOB`, where JOB is a file
// {"code": ..., "variables": {...}, "argv": [...]}; a returned value goes to result.json beside it.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { createRequire } = require('node:module');
const { pathToFileURL } = require('node:url');

const OLDEST_NODE = 18;
const NEEDS_MODULE = /import statement outside a module|Unexpected token 'export'|'import\.meta' outside a module/;

const jobFile = process.argv[2];
const folder = path.dirname(jobFile);
const job = JSON.parse(fs.readFileSync(jobFile, 'utf8'));

function answer(result) {
  const text = JSON.stringify(result);
  if (text !== '{}') fs.writeFileSync(path.join(folder, 'result.json'), text);
}

function withoutThisFile(stack) {
  return String(stack)
    .split('\n')
    .filter((line) => !line.includes(__filename) && !line.includes('node:internal'))
    .join('\n');
}

async function asModule() {
  const constants = Object.entries(job.variables).map(([name, value]) => `const ${name} = ${JSON.stringify(value)}; `);
  const file = path.join(folder, 'script.mjs');
  // On one line, so that the line numbers of errors are those of the workflow's code.
  fs.writeFileSync(file, constants.join('') + job.code);
  return (await import(pathToFileURL(file))).default;
}

async function main() {
  const names = Object.keys(job.variables);
  const values = Object.values(job.variables);
  if (!names.includes('require')) {
    names.push('require');
    values.push(createRequire(path.join(process.cwd(), 'script.js')));
  }
  let body;
  try {
    // Indirect, so that the code sees globals and its variables only; on the first line, as above.
    body = (0, eval)(`(async function (${names.join(', ')}) {${job.code}\n})\n//# sourceURL=script.js`);
  } catch (error) {
    if (error instanceof SyntaxError && NEEDS_MODULE.test(error.message)) return asModule();
    throw error;
  }
  return body(...values);
}

if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
  answer({ refused: `needs Node.js ${OLDEST_NODE} or newer, and this is ${process.version}` });
} else {
  process.argv = [process.argv[0], path.join(folder, 'script.js'), ...job.argv];
  main().then(
    (value) => answer({ value }),
    (error) => {
      if (error instanceof Error) error.stack = withoutThisFile(error.stack);
      console.error(error);
      process.exitCode = 1;
    },
  );
}
