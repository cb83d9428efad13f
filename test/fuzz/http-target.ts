/** The HTTP API: whole requests, as bytes on a socket. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { isAbsolute, join } from 'node:path';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { startApi } from '../../coordinator/api/server.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';
import { checkSettings, FuzzDefect, type FuzzTarget } from './target.ts';

/** What is submitted is a request that the coordinator can go by; everything else is refused in words. */
export const http: FuzzTarget = {
  name: 'http',
  weight: 2,
  open: async (dir) => {
    mkdirSync(join(dir, '_logs'), { recursive: true });
    for (const name of ['predictions.csv', '_manifest.json']) writeFileSync(join(dir, name), 'a,b\n1,2\n');
    let defect: unknown = null;
    const backend = new FakeBackend(dir);
    const api = await startApi({
      backend,
      host: '127.0.0.1',
      port: 0,
      onDefect: (error) => (defect = error),
    });
    const deployment = await loadDeployment(packageFile('test', 'e2e', 'scorers', 'hash-rows.mjs'));
    const body = JSON.stringify({ deployment, input_path: '/in', output_path: '/out', overwrite: false, name: null });
    const { settings } = deployment;
    const bodies = [
      { deployment, input_path: '/in', output_path: '/out', name: 'some-job', overwrite: true },
      {
        ...{ input_path: '/in/x.csv', output_path: '/out' },
        deployment: { ...deployment, settings: { ...settings, memoryBytesMax: 1_000, instanceCountMax: 2 } },
      },
      { deployment: '/etc/passwd', set: ['settings.mini_batch_size=3'], input_path: '/in', output_path: '/out' },
    ];
    const post = (text: string): string =>
      `POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`;
    const get = (path: string, more = ''): string =>
      `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${more}connection: close\r\n\r\n`;
    const valid = [
      ...[post(body), get('/v1/jobs'), get('/v1/jobs/last'), get('/v1/jobs/job-1/output'), get('/v1/nodes')],
      get('/v1/jobs/job-1/output/predictions.csv', 'range: bytes=0-3\r\n'),
      ...[
        get('/v1/jobs/job-1/logs'),
        get('/v1/jobs/job-1/errors?offset=0&limit=10'),
        get('/v1/jobs/job-1/printed?first=0'),
      ],
      ...bodies.map((one) => post(JSON.stringify(one))),
      get('/v1/jobs/job-1/logs/user/stdout/n1/process000.stdout.txt?offset=0&length=10'),
      'POST /v1/jobs/job-1/cancel HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}',
    ];
    const words = [
      '../',
      '%2e%2e%2f',
      '%00',
      '%ff',
      'null',
      '-1',
      '{}',
      '[]',
      '\r\n',
      'bytes=-',
      'bytes=9-1',
      '__proto__',
      '"deployment":"/etc/passwd"',
      'HEAD',
      'DELETE',
      'last',
    ];
    return {
      samples: { valid: valid.map((text) => Buffer.from(text)), words },
      // Half of them with a body whose length is right, so that what reads it is reached.
      run: async (input, random) => {
        const head = Buffer.from(input).indexOf('\r\n\r\n');
        const isPost = random.chance(0.5) && head >= 0 && Buffer.from(input).toString('latin1', 0, 4) === 'POST';
        const bytes = isPost ? Buffer.from(post(Buffer.from(input).toString('utf8', head + 4))) : Buffer.from(input);
        const status = await statusOf(api.address.port, bytes);
        if (defect !== null) throw defect as Error;
        for (const { name, inputPath, outputDir, deployment: submitted } of backend.submitted.splice(0)) {
          checkSettings(submitted.settings);
          if (!isAbsolute(inputPath) || !isAbsolute(outputDir) || (name !== null && !/^[\w.-]{1,100}$/.test(name)))
            throw new FuzzDefect(`submitted: ${JSON.stringify({ name, inputPath, outputDir })}`);
        }
        if (status === 500) throw new FuzzDefect('an answer 500');
        return status !== 0 && status < 400 ? { kind: 'accepted' } : { kind: 'refused', code: `http ${status}` };
      },
      close: () => api.close(),
    };
  },
};

/** 0: the connection was closed without an answer. */
function statusOf(port: number, bytes: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes));
    socket.setTimeout(10_000, () => {
      socket.destroy();
      reject(new FuzzDefect('no answer within ten seconds'));
    });
    socket.on('data', (data) => {
      text += text.length < 100 ? data.toString('latin1') : '';
      // An event stream has no end.
      if (text.includes('text/event-stream')) socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0)));
  });
}
