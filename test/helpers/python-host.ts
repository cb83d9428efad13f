/** Starts real Python scoring hosts over scripts that a test writes. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostFile, HostInit } from '../../common/core/host-protocol.ts';
import { hostCommand } from '../../worker/pool/host-command.ts';
import {
  HostProcess,
  type HostProcessOptions,
  type ScoreFailed,
  type Scored,
  type ScoreOutcome,
} from '../../worker/pool/host-process.ts';
import { testPython } from './python.ts';

export interface PrintedChunk {
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  readonly sequence: number;
}

export interface HostBench {
  /** A folder of the test's own. */
  readonly dir: string;
  /** What all hosts of this bench have printed. */
  readonly printed: PrintedChunk[];
  /** Writes a file into the code folder. */
  code(name: string, lines: string): void;
  /** Makes input files with the names as their content. */
  files(...names: readonly string[]): HostFile[];
  options(overrides?: HostOverrides): HostProcessOptions;
  start(overrides?: HostOverrides): Promise<HostProcess>;
  /** Kills all hosts and removes the folder. */
  close(): Promise<void>;
}

export interface HostOverrides {
  readonly script?: string;
  /** Anything else of the first message. */
  readonly init?: Partial<HostInit>;
  readonly settings?: Partial<HostInit['settings']>;
  readonly env?: Readonly<Record<string, string>>;
  readonly modelDir?: string | null;
  readonly initTimeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly command?: string;
  readonly cwd?: string;
}

/** Long enough for the slowest machine: tests wait for events, this only ends what hangs. */
export const patience = { timeoutMs: 30_000, first: 0 } as const;

export function openBench(): HostBench {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'batchmill-host-')));
  const hosts: HostProcess[] = [];
  const printed: PrintedChunk[] = [];
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };
  const options = (overrides: HostOverrides = {}): HostProcessOptions => {
    const scorer = overrides.init?.scorer ?? { kind: 'python', script: overrides.script ?? 'batch_driver.py' };
    const modelDir = overrides.modelDir ?? null;
    const environment = { node: { PATH: '/usr/bin:/bin' }, deployment: overrides.env ?? {}, modelDir, outputDir: null };
    const command = hostCommand({ scorer, python: overrides.command ?? testPython(), environment });
    const settings = { outputFormat: 'azure', outputAction: 'append_row', loggingLevel: 'info', ...overrides.settings };
    return {
      ...command,
      cwd: overrides.cwd ?? dir,
      spoolDir: join(dir, 'spool'),
      init: {
        scorer,
        settings: settings as HostInit['settings'],
        modelDir,
        modelPath: null,
        codeDir: join(dir, 'code'),
        customDir: dir,
        logDir: dir,
        job: 'job',
        node: 'node-1',
        process: 0,
        ...overrides.init,
      },
      logSink: (stream, chunk, sequence) =>
        void printed.push({ stream, text: Buffer.from(chunk).toString(), sequence }),
      ...(overrides.initTimeoutMs === undefined ? {} : { initTimeoutMs: overrides.initTimeoutMs }),
      ...(overrides.signal === undefined ? {} : { signal: overrides.signal }),
    };
  };
  return {
    dir,
    printed,
    code: (name, text) => write(join(dir, 'code', name), text),
    files: (...names) =>
      names.map((name) => {
        write(join(dir, 'inputs', name), name);
        return { path: join(dir, 'inputs', name), name };
      }),
    options,
    start: async (overrides) => {
      const host = await HostProcess.start(options(overrides));
      hosts.push(host);
      return host;
    },
    close: async () => {
      await Promise.all(hosts.map((host) => host.kill()));
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** All bytes of a scored mini-batch as text; the outcome must be one. */
export async function textOf(outcome: ScoreOutcome): Promise<string> {
  const { body } = scored(outcome);
  const pieces: Uint8Array[] = [];
  for await (const piece of body.pieces()) pieces.push(piece);
  await body.discard();
  return Buffer.concat(pieces).toString();
}

export function scored(outcome: ScoreOutcome): Scored {
  expect(outcome).toMatchObject({ kind: 'scored' });
  return outcome as Scored;
}

export function failed(outcome: ScoreOutcome): ScoreFailed {
  expect(outcome).toMatchObject({ kind: 'failed' });
  return outcome as ScoreFailed;
}

/** What a promise was refused with; it must be a BatchError. */
export async function refusalOf(promise: Promise<unknown>): Promise<BatchError> {
  const outcome = await promise.then(
    () => 'nothing was thrown',
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(BatchError);
  return outcome as BatchError;
}

/** True while a process with this id exists. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
