/**
 * A scoring host: init once, then one mini-batch at a time. Whatever user code does is an outcome here, never an
 * exception. Which host is used for what, and when a new one is started, is for others.
 */
import { BatchError, toBatchError, type Failure } from '../../common/core/batch-error.ts';
import type { Frame } from '../../common/core/frame.ts';
import { hostFrame, type HostFile, type HostInit, type HostReady } from '../../common/core/host-protocol.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { failedFiles, type ResultSummary } from '../../common/core/result.ts';
import { HostConnection, type Answer, type HostConnectionOptions } from './host-connection.ts';
import { briefExit, describeExit, type HostExit } from './host-exit.ts';
import * as failures from './host-failures.ts';
import { parseDone, parseFailed, parseReady, parseReturned } from './host-messages.ts';
import { ResultBody } from './result-body.ts';

export interface HostProcessOptions extends HostConnectionOptions {
  readonly init: HostInit;
  /** For results that are too large for memory; made when needed. */
  readonly spoolDir: string;
  /** Hears why a result waits for room, and an empty text when it does not any more. */
  readonly onWait?: (reason: string) => void;
  /** Default `limits.hostInitMsMax`. */
  readonly initTimeoutMs?: number;
  /** Ends the wait for init() and the process with it. */
  readonly signal?: AbortSignal;
}

export interface ScoreOptions {
  /** Ordinal of the first file in the job's input order. */
  readonly first: number;
  /** Columns that the rows are to be widened to; null or left out: as the scorer gives them. */
  readonly columns?: readonly string[] | null;
  /** Of run(); it begins anew whenever rows arrive. */
  readonly timeoutMs: number;
  /** Kills the host; `score` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Rows of a mini-batch. The caller must discard `body` once it is sent. */
export interface Scored {
  readonly kind: 'scored';
  readonly summary: ResultSummary;
  readonly body: ResultBody;
  /** Paths in the host's custom folder that were opened for appending, as far as it can tell. */
  readonly appended: readonly string[];
  /** The host says that user code has left no file in its custom folder. */
  readonly isFolderEmpty: boolean;
  /** What the host found of calls on its device; null: nothing new. */
  readonly callSize: number | null;
}

export interface ScoreFailed {
  readonly kind: 'failed';
  readonly failure: Failure;
  /** Place within the mini-batch of the file that was open last; −1 when unknown. */
  readonly fileIndex: number;
  /** Which durable counter of the mini-batch it adds to. */
  readonly class: 'error' | 'timeout' | 'crash';
  /** Of the host with all that it started; null when unknown. */
  readonly peakMemoryBytes: number | null;
  /** How the host ended; null when it lives on. */
  readonly hostExit: string | null;
  /** True when the host is of no use any more; it is gone then. */
  readonly isHostDead: boolean;
}

/** The host has not begun it and will not: it was queued, and is nobody's fault. */
export interface Unbegun {
  readonly kind: 'unbegun';
}

export type ScoreOutcome = Scored | ScoreFailed;

export class HostProcess {
  /** What the host said when it was ready. */
  readonly ready: HostReady;
  readonly #connection: HostConnection;
  readonly #spoolDir: string;
  readonly #onWait: (reason: string) => void;
  readonly #memoryBytesMax: number;
  #peakBytes: number | null = null;

  private constructor(connection: HostConnection, ready: HostReady, options: HostProcessOptions) {
    this.#connection = connection;
    this.ready = ready;
    this.#spoolDir = options.spoolDir;
    this.#onWait = options.onWait ?? (() => undefined);
    this.#memoryBytesMax = options.memoryBytesMax ?? 0;
  }

  /**
   * Starts a host and waits until user init() is done. Throws what the host says (SCRIPT_INVALID, SCORER_INIT_FAILED,
   * MODEL_INVALID, …), SCORER_INIT_FAILED when it takes too long, SCORER_CRASHED when it dies, PYTHON_NOT_FOUND when there
   * is no such program, FRAME_CORRUPT, and the signal's reason. No process is left behind then.
   */
  static async start(options: HostProcessOptions): Promise<HostProcess> {
    options.signal?.throwIfAborted();
    const connection = await HostConnection.open(options);
    try {
      const timeoutMs = options.initTimeoutMs ?? limits.hostInitMsMax;
      const payload = Buffer.from(JSON.stringify(options.init));
      const question = { type: hostFrame.init, payload, body: null, sequence: 0, timeoutMs, signal: options.signal };
      const { memoryBytesMax } = options;
      const ready = readyOf(await connection.ask(question), timeoutMs, connection, memoryBytesMax ?? 0);
      return new HostProcess(connection, ready, options);
    } catch (error) {
      await connection.kill();
      throw error;
    }
  }

  get pid(): number {
    return this.#connection.pid;
  }

  /** Resolves once, when the process has ended and its last output has been read. Never rejects. */
  get exited(): Promise<HostExit> {
    return this.#connection.exited;
  }

  /** It has been asked something that it has not answered. */
  get isBusy(): boolean {
    return this.#connection.isBusy;
  }

  /** False as soon as it is known that the process has ended or speaks no protocol any more. */
  get isAlive(): boolean {
    return this.#connection.isAlive;
  }

  /** Processor time of the host and its ended children since it was asked last, at first since the start; `at`: monotonic milliseconds; `tookMs`: what for. Null when unknown. */
  takeCpuSeconds(at: number, tookMs: number = Infinity): number | null {
    return this.#connection.takeCpuSeconds(at, tookMs);
  }

  /** Number of the mini-batch under way or last, as the log sink has it; 0 before the first. */
  get sequence(): number {
    return this.#connection.sequence;
  }

  /**
   * Scores one mini-batch. Rejects only with the signal's reason. Not while another call is under way; on a host that is
   * not {@link isAlive} the mini-batch would be blamed for a death that is not its own.
   */
  async score(files: readonly HostFile[], options: ScoreOptions): Promise<ScoreOutcome> {
    const outcome = await this.queue(files, options);
    invariant(outcome.kind !== 'unbegun', 'what is not queued is begun');
    return outcome;
  }

  /** The same behind what is under way, on a host that says it {@link HostReady.queues}. */
  async queue(files: readonly HostFile[], options: ScoreOptions): Promise<ScoreOutcome | Unbegun> {
    options.signal?.throwIfAborted();
    const sequence = this.#connection.nextSequence();
    const payload = Buffer.from(
      JSON.stringify({
        sequence,
        first: options.first,
        ...(options.columns ? { columns: options.columns } : {}),
        ...(this.#connection.isBusy ? { queued: true } : {}),
        files,
      }),
    );
    if (payload.length > limits.framePayloadBytesMax) {
      return failed(failures.tooManyFiles(files.length, payload.length), 'error');
    }
    const body = new ResultBody(this.#spoolDir, this.#onWait);
    const giveUp = (): void => body.giveUp();
    options.signal?.addEventListener('abort', giveUp);
    let outcome: ScoreOutcome | Unbegun | null = null;
    try {
      const { timeoutMs, signal } = options;
      const question = { type: hostFrame.score, payload, body, sequence, timeoutMs, signal };
      const answer = await this.#connection.ask(question);
      outcome = await this.#outcome(answer, { files, body, sequence, timeoutMs });
      return outcome;
    } finally {
      options.signal?.removeEventListener('abort', giveUp);
      if (outcome?.kind !== 'scored') await body.discard();
    }
  }

  /** The most memory that it has used with all that it started, once it has ended; null when unknown. */
  get peakBytes(): number | null {
    return this.#peakBytes ?? this.#connection.everBytes;
  }

  /** Lets user shutdown() run; a host that does not end by itself is terminated, then killed. A busy one is killed. */
  async stop(): Promise<void> {
    const connection = this.#connection;
    // What it has used can be asked for as long as it lives.
    this.#peakBytes = connection.everBytes;
    if (connection.isAlive && !connection.isBusy) {
      connection.send(hostFrame.stop, new Uint8Array());
      if (await connection.endsWithin(limits.hostStopMs)) return;
      connection.signalGroup('SIGTERM');
      if (await connection.endsWithin(limits.hostStopMs)) return;
    }
    await connection.kill();
  }

  /** Kills the host and all processes that it started. Resolves when it is gone. */
  async kill(): Promise<void> {
    await this.#connection.kill();
  }

  async #outcome(answer: Answer, asked: Asked): Promise<ScoreOutcome | Unbegun> {
    const { files, sequence, timeoutMs } = asked;
    if (answer.kind === 'unbegun') return answer;
    if (answer.kind === 'frame') {
      try {
        return await this.#outcomeOfFrame(answer.frame, asked);
      } catch (error) {
        return this.#lost(toBatchError(error), 'crash', asked);
      }
    }
    // Only when it is gone are its last words here, and the device is free for the next one.
    await this.#connection.kill();
    if (answer.kind === 'aborted') throw answer.reason;
    if (answer.kind === 'corrupt') return this.#lost(answer.error, 'crash', asked);
    const index = this.#connection.current.indexIn(sequence);
    const lost = { fileName: files[index]?.name ?? null, stderr: this.#connection.stderrTail };
    switch (answer.kind) {
      case 'timeout':
        return this.#lost(failures.timeout(timeoutMs, lost), 'timeout', asked);
      case 'memory':
        return this.#lost(failures.memoryExceeded(answer.usedBytes, this.#memoryBytesMax, lost), 'crash', asked);
      case 'exit':
        return this.#lost(this.#exitError(answer.exit, lost), 'crash', asked);
    }
  }

  /** Want of memory is told as such where somebody says so: the kernel, or V8 with its last words. */
  #exitError(exit: HostExit, lost: failures.LostHost): BatchError {
    const isByKernel = exit.signal === 'SIGKILL' && this.#connection.hasKernelKilled;
    if (isByKernel) return failures.memoryExhausted('the kernel killed the scoring host for want of memory', lost);
    if (failures.isHeapExhausted(lost.stderr)) {
      return failures.memoryExhausted(`the scoring host ${describeExit(exit)}: its JavaScript heap was full`, lost);
    }
    return failures.crash(exit, lost);
  }

  async #outcomeOfFrame(frame: Frame, { files, body, sequence: wanted }: Asked): Promise<ScoreOutcome | Unbegun> {
    if (frame.type === hostFrame.failed) {
      const { sequence, fileIndex, ...said } = parseFailed(frame.payload);
      const failure = failures.withMemoryCode(said);
      // Last words: what it says before it ends, of no mini-batch or of the one that it could not hold any longer.
      if (sequence !== wanted || failure.code === 'SCORER_CRASHED') throw BatchError.fromFailure(failure);
      const { peakMemoryBytes } = this.#connection;
      const place = placeWithin(files, fileIndex);
      return { ...failed(BatchError.fromFailure(failure), 'error'), fileIndex: place, peakMemoryBytes };
    }
    if (frame.type === hostFrame.returned) {
      const { sequence } = parseReturned(frame.payload);
      if (sequence !== wanted) throw failures.wrongSequence(sequence, wanted);
      return { kind: 'unbegun' };
    }
    if (frame.type !== hostFrame.done) throw failures.unexpectedFrame(frame.type);
    const {
      sequence,
      bytes,
      appended,
      isFolderEmpty,
      callSize = null,
      ...counts
    } = parseDone(frame.payload, files.length);
    if (sequence !== wanted) throw failures.wrongSequence(sequence, wanted);
    if (bytes !== body.bytes) throw failures.wrongBytes(bytes, body.bytes);
    try {
      await body.settled();
    } catch (error) {
      // The disk of this node; the host is as good as before.
      return failed(toBatchError(error), 'error');
    }
    const isWhole = failedFiles(counts, files.length) === 0;
    const summary = { ...counts, peakMemoryBytes: isWhole ? null : this.#connection.peakMemoryBytes };
    return { kind: 'scored', summary, body, appended: appended ?? [], isFolderEmpty: isFolderEmpty === true, callSize };
  }

  async #lost(error: BatchError, failureClass: ScoreFailed['class'], { files, sequence }: Asked): Promise<ScoreFailed> {
    await this.#connection.kill();
    const fileIndex = placeWithin(files, this.#connection.current.indexIn(sequence));
    const { peakMemoryBytes, exit } = this.#connection;
    const hostExit = exit && briefExit(exit);
    return { ...failed(error, failureClass), fileIndex, peakMemoryBytes, hostExit, isHostDead: true };
  }
}

interface Asked {
  readonly files: readonly HostFile[];
  readonly body: ResultBody;
  readonly sequence: number;
  readonly timeoutMs: number;
}

/** What the host said to init; throws what {@link HostProcess.start} throws. */
function readyOf(answer: Answer, timeoutMs: number, connection: HostConnection, memoryBytesMax: number): HostReady {
  switch (answer.kind) {
    case 'frame':
      if (answer.frame.type === hostFrame.failed) throw BatchError.fromFailure(parseFailed(answer.frame.payload));
      if (answer.frame.type !== hostFrame.ready) throw failures.unexpectedFrame(answer.frame.type);
      return parseReady(answer.frame.payload);
    case 'exit':
      throw failures.crashInInit(answer.exit, connection.stderrTail);
    case 'memory':
      throw failures.memoryExceededInInit(answer.usedBytes, memoryBytesMax, connection.stderrTail);
    case 'timeout':
      throw failures.timeoutInInit(timeoutMs, connection.stderrTail);
    case 'corrupt':
      throw answer.error;
    case 'aborted':
      throw answer.reason;
    case 'unbegun':
      throw new BatchError('INTERNAL', 'init() waits for nobody');
  }
}

function failed(error: BatchError, failureClass: ScoreFailed['class']): ScoreFailed {
  const circumstances = { peakMemoryBytes: null, hostExit: null };
  const failure = error.toFailure();
  return { kind: 'failed', failure, fileIndex: -1, class: failureClass, ...circumstances, isHostDead: false };
}

function placeWithin(files: readonly HostFile[], index: number): number {
  return index >= 0 && index < files.length ? index : -1;
}
