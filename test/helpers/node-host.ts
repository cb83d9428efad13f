/** Talks to a compiled Node scoring host frame by frame, as docs/host-protocol.md has it, without the production client. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Scorer } from '../../common/core/deployment.ts';
import { frameHeader, FrameReader } from '../../common/core/frame.ts';
import {
  hostFrame,
  type HostDone,
  type HostFailed,
  type HostFile,
  type HostInit,
  type HostReady,
} from '../../common/core/host-protocol.ts';
import { compiledFile } from '../../common/io/package-files.ts';

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What ends an exchange; rows are those that came before it. */
export type Answer = { readonly rows: string; readonly frames: number } & (
  | { readonly kind: 'ready'; readonly message: HostReady }
  | { readonly kind: 'done'; readonly message: HostDone }
  | { readonly kind: 'failed'; readonly message: HostFailed }
  | { readonly kind: 'exit'; readonly exit: Exit }
);

export interface RawHost {
  readonly init: Answer;
  readonly printed: { stdout: string; stderr: string; side: string };
  send(type: number, message?: unknown): void;
  /** Bytes on channel 3 as they are. */
  sendRaw(bytes: Uint8Array): void;
  answer(): Promise<Answer>;
  score(files: readonly HostFile[], sequence?: number): Promise<Answer>;
  /** Ends channel 3, as the death of the worker node does. */
  hangUp(): void;
  readonly exit: Promise<Exit>;
}

export type HostChanges = Partial<
  HostInit['settings'] & Pick<HostInit, 'modelPath' | 'codeDir' | 'customDir' | 'callSize'>
>;

export interface NodeHostBench {
  /** A folder of the test's own. */
  readonly dir: string;
  /** Writes a file below the folder and gives it as an input file. */
  file(name: string, content: string | Uint8Array): HostFile;
  start(scorer: Scorer, changes?: HostChanges): Promise<RawHost>;
  close(): Promise<void>;
}

export function openNodeHostBench(): NodeHostBench {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'batchmill-node-host-')));
  const hosts: { child: ChildProcess; exit: Promise<Exit> }[] = [];
  return {
    dir,
    file: (name, content) => {
      const path = join(dir, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
      return { path, name };
    },
    start: async (scorer, changes = {}) => {
      const child = spawnHost(dir);
      const host = converse(child);
      hosts.push({ child, exit: host.exit });
      const { modelPath = null, codeDir = null, customDir = dir, callSize, ...settings } = changes;
      host.send(hostFrame.init, {
        scorer,
        settings: { outputFormat: 'csv', outputAction: 'append_row', loggingLevel: 'info', ...settings },
        modelDir: modelPath && dirname(modelPath),
        modelPath,
        codeDir,
        customDir,
        logDir: dir,
        job: 'job',
        node: 'node-1',
        process: 0,
        ...(callSize === undefined ? {} : { callSize }),
      } satisfies HostInit);
      return { ...host, init: await host.answer() };
    },
    close: async () => {
      for (const { child, exit } of hosts) {
        child.kill('SIGKILL');
        await exit;
      }
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function spawnHost(cwd: string): ChildProcess {
  const entry = compiledFile('worker', 'scorers', 'node-host.js');
  if (!existsSync(entry)) throw new Error(`${entry} does not exist: run \`npm run build\` first`);
  const env = { PATH: process.env['PATH'] ?? '', HOME: cwd };
  return spawn(process.execPath, [entry], { cwd, env, stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] });
}

function converse(child: ChildProcess): Omit<RawHost, 'init'> {
  const frames = child.stdio[3] as Socket;
  const printed = { stdout: '', stderr: '', side: '' };
  child.stdout?.on('data', (bytes) => (printed.stdout += String(bytes)));
  child.stderr?.on('data', (bytes) => (printed.stderr += String(bytes)));
  child.stdio[4]?.on('data', (bytes) => (printed.side += String(bytes)));
  const reader = new FrameReader(crc32);
  const answers: Answer[] = [];
  const waiting: ((answer: Answer) => void)[] = [];
  let rows: Buffer[] = [];
  const give = (end: object): void => {
    const answer = { ...end, rows: Buffer.concat(rows).toString(), frames: rows.length } as Answer;
    rows = [];
    const first = waiting.shift();
    if (first) first(answer);
    else answers.push(answer);
  };
  frames.on('data', (bytes: Buffer) => {
    for (const { type, payload } of reader.push(bytes)) {
      if (type === hostFrame.rows) rows.push(Buffer.from(payload));
      else give({ kind: kindOf(type), message: JSON.parse(Buffer.from(payload).toString()) as unknown });
    }
  });
  frames.on('error', () => undefined);
  // All pipes are read to their ends first, so that what was printed is complete.
  const exit = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      give({ kind: 'exit', exit: { code, signal } });
      resolve({ code, signal });
    });
  });
  const send = (type: number, message?: unknown): void => {
    const payload = Buffer.from(message === undefined ? '' : JSON.stringify(message));
    frames.write(frameHeader(type, payload, crc32));
    frames.write(payload);
  };
  const answer = (): Promise<Answer> => {
    const first = answers.shift();
    return first ? Promise.resolve(first) : new Promise((resolve) => waiting.push(resolve));
  };
  return {
    printed,
    send,
    answer,
    exit,
    sendRaw: (bytes) => void frames.write(bytes),
    score: (files, sequence = 1) => {
      send(hostFrame.score, { sequence, files });
      return answer();
    },
    hangUp: () => frames.destroy(),
  };
}

function kindOf(type: number): 'ready' | 'done' | 'failed' {
  for (const kind of ['ready', 'done', 'failed'] as const) if (hostFrame[kind] === type) return kind;
  throw new Error(`a scoring host does not send frames of type ${type}`);
}
