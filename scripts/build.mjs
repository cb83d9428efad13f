// Generates the types of proto/, compiles to dist/ and bundles the program there. Does nothing that is already done: tsc is
// incremental, and what it has not written is not bundled again.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleProgram } from './program-bundle.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const proto = 'proto/batchmill/v1/cluster.proto';
const generated = 'common/rpc/generated/cluster.ts';

/** When the file was written; long ago, where there is none. */
function writtenAt(file) {
  return existsSync(root + file) ? statSync(root + file).mtimeMs : 0;
}

/** Runs a tool of this package; its failure ends the build with its own output. */
function run(tool, args) {
  const done = spawnSync(process.execPath, [`${root}node_modules/${tool}`, ...args], { cwd: root, stdio: 'inherit' });
  if (done.status !== 0) process.exit(done.status ?? 1);
}

if (!existsSync(root + generated) || statSync(root + generated).mtimeMs < statSync(root + proto).mtimeMs) {
  run('@grpc/proto-loader/build/bin/proto-loader-gen-types.js', [
    '--longs=Number',
    '--defaults',
    '--arrays',
    '--grpcLib=@grpc/grpc-js',
    '--importFileExtension=.ts',
    '--includeDirs=proto',
    '--outDir=common/rpc/generated',
    'batchmill/v1/cluster.proto',
  ]);
}
run('typescript/bin/tsc', ['--incremental', '--tsBuildInfoFile', 'dist/.tsbuildinfo']);
const bundled = writtenAt('dist/LICENSES.txt');
const sources = ['dist/.tsbuildinfo', 'package-lock.json', 'scripts/program-bundle.mjs'];
if (sources.some((source) => writtenAt(source) >= bundled)) await bundleProgram();
// The compiler writes it anew without this bit, and `npm link` and `npx` run it as it is.
chmodSync(`${root}dist/cli/main.js`, 0o755);
