/** A compiled Node scoring host whose worker node is killed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { expect, it } from 'vitest';
import { frameHeader } from '../../common/core/frame.ts';
import { hostFrame, type HostInit } from '../../common/core/host-protocol.ts';
import { compiledFile } from '../../common/io/package-files.ts';

/** Stands for the worker node: starts a host, sends it what it is given, and waits. */
const parent = `
const { spawn } = require('node:child_process');
const [entry, bytes] = process.argv.slice(1);
const host = spawn(process.execPath, [entry], { stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'], detached: true });
host.stdio[3].write(Buffer.from(bytes, 'base64'));
`;

it('ends when its worker node is killed while the script spins', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'batchmill-orphan-'));
  writeFileSync(
    join(dir, 'score.mjs'),
    `import { writeSync } from 'node:fs';
     writeSync(1, String(process.pid));
     for (;;);`,
  );
  const init: HostInit = {
    scorer: { kind: 'node', script: 'score.mjs' },
    settings: { outputFormat: 'csv', outputAction: 'append_row', loggingLevel: 'info' },
    ...{ modelDir: null, modelPath: null, codeDir: dir, customDir: dir, logDir: dir },
    ...{ job: 'job', node: 'node-1', process: 0 },
  };
  const payload = Buffer.from(JSON.stringify(init));
  const bytes = Buffer.concat([frameHeader(hostFrame.init, payload, crc32), payload]).toString('base64');
  const node = spawn(process.execPath, ['-e', parent, compiledFile('worker', 'scorers', 'node-host.js'), bytes], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const signal = AbortSignal.timeout(15_000);
  let host = 0;
  try {
    const [pid] = (await once(node.stdout, 'data', { signal })) as [Buffer];
    host = Number(pid.toString());
    node.kill('SIGKILL');
    // The host holds the other end as well.
    await once(node, 'close', { signal });
    host = 0;
  } finally {
    node.kill('SIGKILL');
    if (host > 0) process.kill(host, 'SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
  expect(node.signalCode).toBe('SIGKILL');
}, 20_000);
