/**
 * A scoring host as a process with channels: starts it, frames both ways, what it prints, how it ends. Every question has
 * exactly one answer: a frame, the exit of the process, a timeout. What frames mean is for host-process.ts.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import type { Duplex, Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { toBatchError, type BatchError } from '../../common/core/batch-error.ts';
import { FrameReader, frameHeader, type Frame, type FramePart } from '../../common/core/frame.ts';
import { hostFrame } from '../../common/core/host-protocol.ts';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { delay } from '../../common/io/delay.ts';
import { errnoOf } from '../../common/io/errno.ts';
import { ByteTail } from './byte-tail.ts';
import { CurrentFile } from './current-file.ts';
import type { HostCommand } from './host-command.ts';
import type { HostExit } from './host-exit.ts';
import { notStarted, unexpectedFrame } from './host-failures.ts';
import { unwatchMemory, watchMemory, type MemoryReading } from './memory-watch.ts';
import type { ResultBody } from './result-body.ts';

/** Takes what user code prints. `sequence`: the mini-batch under way or last; 0 during init. */
export type LogSink = (stream: 'stdout' | 'stderr', chunk: Uint8Array, sequence: number) => void;

export interface HostConnectionOptions extends HostCommand {
  /** Working directory; must exist. */
  readonly cwd: string;
  readonly logSink: LogSink;
  /** Of the host with all that it starts; default null: no limit. */
  readonly memoryBytesMax?: number | null;
}

/** What the host is asked, and how long it may be silent. */
export interface Question {
  readonly type: number;
  readonly payload: Uint8Array;
  /** Takes `rows`; null where none may come. */
  readonly body: ResultBody | null;
  /** From {@link HostConnection.nextSequence}; 0 for init. */
  readonly sequence: number;
  /** From when its turn has come. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

export type Answer =
  | { readonly kind: 'frame'; readonly frame: Frame }
  | { readonly kind: 'exit'; readonly exit: HostExit }
  | { readonly kind: 'timeout' }
  /** It uses more memory than it may; it has been killed. */
  | { readonly kind: 'memory'; readonly usedBytes: number }
  /** The stream of frames is of no use any more; the host has been killed. */
  | { readonly kind: 'corrupt'; readonly error: BatchError }
  | { readonly kind: 'aborted'; readonly reason: unknown }
  /** The host is lost by another one. */
  | { readonly kind: 'unbegun' };

interface Waiting {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly onAbort: () => void;
}

/** Time for the last words of a dead host to arrive: a grandchild that left its group may hold the pipes open. */
const lastWordsMs = 500;

export class HostConnection {
  readonly pid: number;
  /** Resolves once, when the process has ended and its last output has been read. Never rejects. */
  readonly exited: Promise<HostExit>;
  readonly current: CurrentFile = new CurrentFile();
  readonly #child: ChildProcess;
  readonly #socket: Duplex;
  readonly #side: Readable;
  readonly #frames = new FrameReader(crc32, hostFrame.rows);
  readonly #memory: MemoryReading;
  #stderr = new ByteTail(limits.stderrTailBytes);
  /** What the host is at, then what it has been sent behind that. */
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | null = null;
  /** Frames of this turn, which go in one write. */
  #outgoing: Uint8Array[] = [];
  #sequence = 0;
  #sequences = 0;
  #exit: HostExit | null = null;
  #corruption: BatchError | null = null;

  private constructor(child: ChildProcess, { logSink, memoryBytesMax = null }: HostConnectionOptions) {
    invariant(child.pid !== undefined, 'a spawned process has an id');
    this.#child = child;
    this.pid = child.pid;
    this.#socket = child.stdio[3] as Duplex;
    this.#side = child.stdio[4] as Readable;
    this.#memory = watchMemory({
      pid: child.pid,
      bytesMax: memoryBytesMax,
      onExceeded: (usedBytes) => this.#onMemoryExceeded(usedBytes),
    });
    this.exited = this.#watchExit();
    this.#listen(logSink);
  }

  /** Starts the process. Throws PYTHON_NOT_FOUND when there is no such program, else INTERNAL. */
  static async open(options: HostConnectionOptions): Promise<HostConnection> {
    const connection = new HostConnection(await spawnHost(options), options);
    preferAsVictim(connection.pid);
    return connection;
  }

  get isAlive(): boolean {
    return this.#exit === null && this.#corruption === null;
  }

  get isBusy(): boolean {
    return this.#waiting.length > 0;
  }

  /** How the process has ended; null while it lives. */
  get exit(): HostExit | null {
    return this.#exit;
  }

  /** Of what was asked last, with all that the host started; null when unknown. */
  get peakMemoryBytes(): number | null {
    return this.#memory.peakBytes();
  }

  /** The most since it began, with all that it started; null when unknown. */
  get everBytes(): number | null {
    return this.#memory.everBytes();
  }

  /** Processor time since it was asked last; null when unknown. */
  takeCpuSeconds(at: number, tookMs: number): number | null {
    return this.#memory.takeCpuSeconds(at, tookMs);
  }

  /** Whether the kernel has killed a process of this machine for want of memory since something was asked. */
  get hasKernelKilled(): boolean {
    return this.#memory.hasKernelKilled();
  }

  /** Of the mini-batch under way or last; 0 before the first. */
  get sequence(): number {
    return this.#sequence;
  }

  /** The end of stderr since the mini-batch began. */
  get stderrTail(): string {
    return this.#stderr.text();
  }

  /** The number of the next mini-batch. */
  nextSequence(): number {
    this.#sequences += 1;
    return this.#sequences;
  }

  /**
   * Asks one thing; what is asked before the last answer came waits on the host, which takes one after the other. The timer is that
   * of the one whose turn it is, and begins anew whenever the host sends a frame. A host that is lost has lost one: the one that it
   * named on the side channel, else the one whose turn it was; the others hear `unbegun`. Never rejects.
   */
  ask(question: Question): Promise<Answer> {
    return new Promise((resolve) => {
      const { signal } = question;
      const onAbort = (): void => this.#lose({ kind: 'aborted', reason: signal?.reason });
      signal?.addEventListener('abort', onAbort);
      this.#waiting.push({ question, resolve, onAbort });
      if (this.#waiting.length === 1) {
        this.#memory.begin();
        this.#beginTurn();
      } else this.#expectFiles();
      if (signal?.aborted === true) onAbort();
      else if (this.#exit !== null && this.#waiting.length === 1) this.#lose({ kind: 'exit', exit: this.#exit });
      else if (this.#corruption !== null) this.#lose({ kind: 'corrupt', error: this.#corruption });
      else this.send(question.type, question.payload);
    });
  }

  /** From here on output and current file belong to the first that waits. */
  #beginTurn(): void {
    const [first] = this.#waiting;
    if (!first) return;
    const { sequence, timeoutMs } = first.question;
    this.#sequence = sequence;
    if (!this.#stderr.isEmpty) this.#stderr = new ByteTail(limits.stderrTailBytes);
    this.#expectFiles();
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setImmediate(() => this.#expire(first)), timeoutMs);
  }

  #expectFiles(): void {
    this.current.expect(this.#waiting[0]?.question.sequence ?? 0, this.#sequences);
  }

  /** When this process was held up itself, the answer may have lain here unread: it has come first then. */
  #expire(waiting: Waiting): void {
    if (this.#waiting[0] !== waiting) return;
    // A host whose rows have no room on the disk cannot go on, which is no fault of its mini-batch.
    if (waiting.question.body?.isWaiting === true) this.#timer?.refresh();
    else this.#lose({ kind: 'timeout' });
  }

  /** The host has answered the one whose turn it was. */
  #answer(frame: Frame): void {
    const waiting = this.#waiting.shift();
    if (!waiting) return;
    this.#give(waiting, { kind: 'frame', frame });
    if (this.#waiting.length > 0) this.#beginTurn();
    else this.#rest();
  }

  /** Nothing more is heard of what was asked. */
  #lose(answer: Answer): void {
    const { sequence } = this.current;
    const named = this.#waiting.find(({ question }) => question.sequence > 0 && question.sequence === sequence);
    const blamed = named ?? this.#waiting[0];
    for (const waiting of this.#waiting.splice(0))
      this.#give(waiting, waiting === blamed ? answer : { kind: 'unbegun' });
    this.#rest();
  }

  /** One turn of the loop later, what user code printed before the answer has reached the log as well: nothing says in which order one turn serves the channels. */
  #give({ question, resolve, onAbort }: Waiting, answer: Answer): void {
    question.signal?.removeEventListener('abort', onAbort);
    setImmediate(resolve, answer);
  }

  #rest(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#memory.end();
  }

  send(type: number, payload: Uint8Array): void {
    if (this.#outgoing.length === 0) {
      // A host that is busy need not hear of what waits behind that before others have joined it.
      if (this.#waiting.length > 1) setImmediate(() => this.#flush());
      else process.nextTick(() => this.#flush());
    }
    this.#outgoing.push(frameHeader(type, payload, crc32), payload);
  }

  #flush(): void {
    if (this.#outgoing.length === 0) return;
    const bytes = Buffer.concat(this.#outgoing);
    this.#outgoing = [];
    this.#socket.write(bytes);
  }

  /** Kills the host and all processes that it started. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.signalGroup('SIGKILL');
    // A process that waits for a device cannot be killed; nobody may wait for it for ever.
    await this.endsWithin(limits.hostStopMs);
  }

  signalGroup(signal: 'SIGTERM' | 'SIGKILL'): void {
    // A number that has been given back may be somebody else’s by now.
    if (this.#exit === null) signalProcessGroup(this.pid, signal);
  }

  async endsWithin(ms: number): Promise<boolean> {
    const timer = new AbortController();
    const expired = delay(ms, timer.signal).then(() => false);
    const isGone = await Promise.race([this.exited.then(() => true), expired]);
    timer.abort();
    return isGone;
  }

  #listen(logSink: LogSink): void {
    const { stdout, stderr } = this.#child;
    stdout?.on('data', (chunk: Uint8Array) => logSink('stdout', chunk, this.#sequence));
    stderr?.on('data', (chunk: Uint8Array) => {
      this.#stderr.push(chunk);
      logSink('stderr', chunk, this.#sequence);
    });
    this.#side.on('data', (chunk: Uint8Array) => this.current.push(chunk));
    this.#socket.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    this.#socket.on('end', () => void this.#onProtocolEnd());
    // A host that dies resets its connections; how it died is told by its exit.
    for (const stream of this.#streams()) stream?.on('error', () => undefined);
  }

  #streams(): readonly (Readable | Duplex | null)[] {
    const { stdout, stderr } = this.#child;
    return [stdout, stderr, this.#side, this.#socket];
  }

  #onMemoryExceeded(usedBytes: number): void {
    this.signalGroup('SIGKILL');
    this.#lose({ kind: 'memory', usedBytes });
  }

  #receive(chunk: Uint8Array): void {
    if (this.#corruption !== null) return;
    try {
      for (const frame of this.#frames.push(chunk)) this.#onFrame(frame);
    } catch (error) {
      this.#corruption = toBatchError(error);
      this.#lose({ kind: 'corrupt', error: this.#corruption });
      this.signalGroup('SIGKILL');
    }
  }

  #onFrame(frame: FramePart): void {
    const body = this.#waiting[0]?.question.body;
    if (body === undefined) throw unexpectedFrame(frame.type);
    this.#timer?.refresh();
    if (frame.type !== hostFrame.rows) return this.#answer(frame);
    if (body === null) throw unexpectedFrame(frame.type);
    body.append(frame.payload, frame.crc32);
    if (body.isBehind && !this.#socket.isPaused()) this.#waitForDisk(body);
  }

  #waitForDisk(body: ResultBody): void {
    this.#socket.pause();
    const resume = (): void => void this.#socket.resume();
    // A failed write is told when the result is complete; until then the host must not be left waiting.
    body.settled().then(resume, resume);
  }

  /** User code closed our connection: nothing can be asked any more, even if the process lives on. */
  async #onProtocolEnd(): Promise<void> {
    if (!(await this.endsWithin(limits.hostStopMs))) this.signalGroup('SIGKILL');
  }

  #watchExit(): Promise<HostExit> {
    return new Promise((resolve) => {
      this.#child.once('exit', (exitCode, signal) => {
        const exit = { exitCode, signal };
        this.#exit = exit;
        unwatchMemory(this.#memory);
        // What it started and left behind, at once: the group's number is safe as long as nobody else can have it.
        signalProcessGroup(this.pid, 'SIGKILL');
        const finish = (): void => {
          clearTimeout(timer);
          this.#lose({ kind: 'exit', exit });
          // What left the group lives on and may hold their other ends for as long as it likes.
          for (const stream of this.#streams()) stream?.destroy();
          resolve(exit);
        };
        const timer = setTimeout(finish, lastWordsMs);
        this.#child.once('close', finish);
      });
    });
  }
}

/** A group of its own, so that Ctrl-C does not reach it and a kill reaches all that it starts. */
function spawnHost(options: HostConnectionOptions): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const refuse = (error: unknown): void => reject(notStarted(error, options));
    try {
      const child = spawn(options.command, options.args, {
        cwd: options.cwd,
        env: { ...options.env },
        stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
        detached: true,
      });
      child.once('spawn', () => resolve(child));
      child.once('error', refuse);
    } catch (error) {
      refuse(error);
    }
  });
}

function signalProcessGroup(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    const code = errnoOf(error);
    // Nobody is left; or only somebody of another user, which is how macOS speaks of a zombie.
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}

/** Where memory runs out, a scoring host shall die rather than the worker node. */
function preferAsVictim(pid: number): void {
  // Only Linux has it; where it is not there or not allowed, nothing is lost but the preference.
  writeFile(`/proc/${pid}/oom_score_adj`, '500').catch(() => undefined);
}
