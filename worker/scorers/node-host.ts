/**
 * The scoring host for the built-in ONNX scorer and for scripts in JavaScript and TypeScript: a process of its own that
 * speaks docs/host-protocol.md. It holds the conversation; what scores is behind HostScorer, loaded only when asked for.
 */
import { readdirSync, statSync } from 'node:fs';
import { inspect } from 'node:util';
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { Frame } from '../../common/core/frame.ts';
import { hostFrame, type HostDone, type HostFailed } from '../../common/core/host-protocol.ts';
import type { HostInit, HostReady, HostReturned, HostScore } from '../../common/core/host-protocol.ts';
import { unreachable } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import type { FileFailure } from '../../common/core/result.ts';
import { systemClock } from '../../common/io/clock.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { openHostChannel, writeSideChannel } from './host-channel.ts';
import type { HostScorer, ScorePort } from './host-scorer.ts';

/** What the host is at: 0 is init(), else a mini-batch's sequence; null between them. */
interface Doing {
  readonly sequence: number;
  /** Place of the file that was begun last; −1 when none was. */
  fileIndex: number;
}

let doing: Doing | null = null;
let scorer: HostScorer | null = null;
/** Where user code may leave files; null for scorers that leave none. */
let customDir: string | null = null;
/** After the last mini-batch. */
let hasFiles = false;
let isSummaryOnly = false;
let isEnding = false;
/** Messages are handled one after the other, in order of arrival. */
let queue: Promise<void> = Promise.resolve();

const channel = openHostChannel({
  onFrame: (frame) => {
    queue = queue.then(() => handle(frame));
  },
  onEnd: (error) => {
    if (isEnding) return;
    if (error !== undefined) console.error(error);
    process.exit(error === undefined ? 0 : 1);
  },
});
process.on('uncaughtException', (error) => void endWith(error, 'uncaught exception'));
process.on('unhandledRejection', (reason) => void endWith(reason, 'unhandled rejection'));

async function handle(frame: Frame): Promise<void> {
  if (isEnding) return;
  switch (frame.type) {
    case hostFrame.init:
      return init(parse<HostInit>(frame));
    case hostFrame.score:
      return score(parse<HostScore>(frame));
    case hostFrame.stop:
      return stop();
    default:
      throw new BatchError('FRAME_CORRUPT', `a scoring host is sent init, score and stop, not type ${frame.type}`);
  }
}

function parse<T>(frame: Frame): T {
  return JSON.parse(Buffer.from(frame.payload).toString()) as T;
}

async function init(message: HostInit): Promise<void> {
  doing = { sequence: 0, fileIndex: -1 };
  isSummaryOnly = message.settings.outputAction === 'summary_only';
  try {
    scorer = await openScorer(message);
  } catch (error) {
    isEnding = true;
    await sendFailed(doing, failureOf(error, 'SCORER_INIT_FAILED'));
    await channel.close();
    process.exit(1);
  }
  doing = null;
  if (message.scorer.kind !== 'onnx') ({ customDir } = message);
  const ready: HostReady = { pid: process.pid, initSeconds: systemClock.monotonic() / 1000, queues: true };
  await channel.send(hostFrame.ready, ready);
}

async function openScorer(message: HostInit): Promise<HostScorer> {
  const { kind } = message.scorer;
  switch (kind) {
    case 'onnx': {
      const { openOnnxScorer } = await import('./onnx-scorer.ts');
      return openOnnxScorer(message, message.scorer);
    }
    case 'node': {
      const { openScriptScorer } = await import('./script-scorer.ts');
      return openScriptScorer(message, message.scorer);
    }
    case 'encode': {
      const { openEncodeScorer } = await import('./encode-scorer.ts');
      return openEncodeScorer(message, message.scorer);
    }
    case 'python':
    case 'mlflow':
      throw new BatchError(
        'INTERNAL',
        `this scoring host runs ONNX models and JavaScript; it was sent a ${kind} scorer`,
      );
    default:
      return unreachable(kind);
  }
}

/** When the folder was last changed, as it was when it was last found empty; null when it was changed too shortly before to tell. */
let emptySinceMs: number | null = null;

/**
 * A file that is made, moved or removed in it changes the folder's own time: reading that is cheaper than listing it. False for a
 * folder that the script has removed: the worker node, which looks then, tells it.
 */
function isFolderEmpty(): boolean {
  if (customDir === null) return true;
  try {
    const { mtimeMs } = statSync(customDir);
    if (mtimeMs === emptySinceMs) return true;
    const isEmpty = readdirSync(customDir).length === 0;
    emptySinceMs = isEmpty && systemClock.wall() - mtimeMs > clockTickMs ? mtimeMs : null;
    return isEmpty;
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    emptySinceMs = null;
    return false;
  }
}

/** Far above the steps in which file systems of this machine tell time. */
const clockTickMs = 100;

async function score(message: HostScore): Promise<void> {
  // Files of a mini-batch are collected before the next one may add to them.
  if (message.queued === true && hasFiles) {
    const returned: HostReturned = { sequence: message.sequence };
    return channel.send(hostFrame.returned, returned);
  }
  const now: Doing = { sequence: message.sequence, fileIndex: -1 };
  doing = now;
  try {
    if (scorer === null) throw new BatchError('INTERNAL', 'a mini-batch was sent before init');
    const done = await scored(scorer, message, now);
    if (!isEnding) await channel.send(hostFrame.done, done);
  } catch (error) {
    hasFiles = !isFolderEmpty();
    if (!isEnding) await sendFailed(now, failureOf(error, 'SCORER_FAILED'));
  }
  doing = null;
}

/** Time that rows take to be written and sent is not the scorer's. */
async function scored(by: HostScorer, message: HostScore, now: Doing): Promise<HostDone> {
  let bytes = 0;
  let emitMs = 0;
  /** The file that the worker node knows of. */
  let told = -1;
  const port: ScorePort = {
    begin: (index, isSafe = false) => {
      now.fileIndex = index;
      // Of the first one in any case: it says that the mini-batch is begun.
      if (index === told || (isSafe && told !== -1)) return;
      told = index;
      writeSideChannel(message.sequence, index);
    },
    emit: async (pieces) => {
      if (isSummaryOnly) return;
      const from = systemClock.monotonic();
      for (const piece of pieces) {
        bytes += piece.length;
        await channel.sendRows(piece);
      }
      emitMs += systemClock.monotonic() - from;
    },
  };
  const from = systemClock.monotonic();
  const result = await by.score(message.files, port, message.columns ?? null);
  const runSeconds = (systemClock.monotonic() - from - emitMs) / 1000;
  const failed = boundMessages(result.failed);
  hasFiles = !isFolderEmpty();
  return { sequence: message.sequence, bytes, ...result, failed, runSeconds, isFolderEmpty: !hasFiles };
}

/** Reasons of a hundred thousand files must fit a frame. */
function boundMessages(failed: readonly FileFailure[]): readonly FileFailure[] {
  const chars = Math.floor(limits.fileFailuresCharsMax / Math.max(1, failed.length));
  const charsMax = Math.min(chars, limits.failureMessageCharsMax);
  return failed.map((failure) => ({ ...failure, message: failure.message.slice(0, charsMax) }));
}

async function stop(): Promise<void> {
  isEnding = true;
  await scorer?.close();
  await channel.close();
  process.exit(0);
}

/** Something failed that nobody waited for, so the process is no more to be trusted: it says so, and ends. */
async function endWith(error: unknown, what: string): Promise<void> {
  console.error(`${what}:`, error);
  if (isEnding || doing === null) process.exit(1);
  isEnding = true;
  const failure = failureOf(error, doing.sequence === 0 ? 'SCORER_INIT_FAILED' : 'SCORER_CRASHED');
  await sendFailed(doing, { ...failure, message: `${what}: ${failure.message}` });
  await channel.close();
  process.exit(1);
}

async function sendFailed(now: Doing, failure: Failure): Promise<void> {
  const message: HostFailed = {
    sequence: now.sequence,
    fileIndex: now.fileIndex,
    code: failure.code,
    message: failure.message.slice(0, limits.failureMessageCharsMax),
    detail: failure.detail.slice(0, limits.failureDetailCharsMax),
  };
  await channel.send(hostFrame.failed, message);
}

/** `Name: text` and the stack of whatever was thrown; what already has a code stays as it is. */
function failureOf(error: unknown, code: ErrorCode): Failure {
  if (error instanceof BatchError) return error.toFailure();
  // Shows causes and properties too, which a stack alone does not.
  const detail = error instanceof Error ? inspect(error) : '';
  const message = error instanceof Error ? `${error.name}: ${error.message}` : `thrown: ${String(error)}`;
  return { code, message, detail };
}
