/**
 * The scoring hosts of a simulated worker node. They follow a script: which files are poison is a property of the input,
 * how long things take is chance. What comes back is a command for the node's core, as from the real hosts.
 */
import { crc32 } from 'node:zlib';
import { BatchError } from '../../common/core/batch-error.ts';
import type { ErrorCode } from '../../common/core/error-codes.ts';
import type { JobName } from '../../common/core/ids.ts';
import type { WorkerCommand } from '../../worker/core/commands.ts';
import type { ResultSummary } from '../../common/core/result.ts';
import type { HeldResult } from '../../worker/core/state.ts';
import {
  bodyOf,
  bodyOfPart,
  columns,
  failureCodes,
  isDeadly,
  markOf,
  otherColumns,
  prologue,
  type FileFate,
  type Part,
  type SimBody,
  type SimInput,
} from './sim-input.ts';
import type { Random } from './world.ts';

export interface ScoringOptions {
  readonly node: string;
  /** Of its process, from 1. */
  readonly life: number;
  readonly input: SimInput;
  readonly random: Random;
  readonly scoreMs: readonly [number, number];
  /** What now and then an attempt takes instead, rows coming all the while, so that its time does not run out; 0: never. */
  readonly slowMs: number;
  /** How every attempt ends, whatever the files; null: as the files will have it. */
  readonly sickness: FileFate | null;
  /** Whether a model can be loaded at all is known, so that one that cannot be is this node's trouble. */
  readonly isInitialised: (job: JobName) => boolean;
  /** Milliseconds of the node's own clock. */
  readonly later: (delayMs: number, what: () => void) => void;
  readonly tell: (command: WorkerCommand) => void;
  /** Whether the node still wants the result of a mini-batch from this host. */
  readonly isGiven: (slot: number, host: number, work: number) => boolean;
  /** The bytes of a result. */
  readonly keep: (work: number, host: number, body: SimBody) => void;
}

export interface Attempt {
  readonly slot: number;
  readonly host: number;
  readonly work: number;
  readonly timeoutMs: number;
  /** Ordinals of the files that are at hand. */
  readonly staged: readonly number[];
  /** What is at hand where a part of the output is made; null: files are scored. */
  readonly part: Part | null;
  /** Nothing else runs on the node. */
  readonly isAlone: boolean;
}

interface Host {
  readonly slot: number;
  state: 'starting' | 'idle' | 'running';
  /** Its folder holds what is not published any more, so that it takes no further mini-batch. */
  isStale: boolean;
  /** What it is scoring. */
  attempt: Attempt | null;
  /** What waits behind that. */
  queue: Attempt[];
}

/** How often an idle host dies by itself. */
const deathRate = 0.01;
/** How often a loaded model cannot be loaded again, for want of memory. */
const initFailureRate = 0.1;

export class ScoringHosts {
  readonly #options: ScoringOptions;
  readonly #hosts = new Map<number, Host>();

  constructor(options: ScoringOptions) {
    this.#options = options;
  }

  start(slot: number, host: number, job: JobName): void {
    const { random, later, tell, isInitialised } = this.#options;
    const held: Host = { slot, state: 'starting', isStale: false, attempt: null, queue: [] };
    this.#hosts.set(host, held);
    later(random.between(20, 200), () => {
      if (this.#hosts.get(host) !== held) return;
      if (!isInitialised(job) || !random.chance(initFailureRate)) {
        held.state = 'idle';
        return tell({ kind: 'host-ready', slot, host });
      }
      this.#hosts.delete(host);
      const failure = new BatchError('SCORER_INIT_FAILED', 'no memory for the model').toFailure();
      tell({ kind: 'host-failed', slot, host, failure });
    });
  }

  /** Told as `host-ended`, or as `host-failed` when it was still starting; after what becomes of its mini-batch. */
  stop(slot: number, host: number, how: 'stop' | 'kill'): void {
    const held = this.#hosts.get(host);
    // Its end is being told already.
    if (!held) return;
    const { random, later, tell } = this.#options;
    const { state, attempt } = held;
    const queue = held.queue.splice(0);
    this.#hosts.delete(host);
    later(how === 'stop' && state === 'idle' ? random.between(1, 500) : random.between(1, 50), () => {
      for (const queued of queue) tell(handedBack(queued));
      if (attempt) tell(failed(attempt, 'SCORER_CRASHED', 'the host was killed', -1, true));
      if (state === 'starting') {
        const failure = new BatchError('SCORER_INIT_FAILED', 'the host was stopped while it started').toFailure();
        return tell({ kind: 'host-failed', slot, host, failure });
      }
      tell({ kind: 'host-ended', slot, host });
    });
  }

  /** What the host wrote for a result is not published: it is replaced before its next mini-batch. */
  discredit(host: number): void {
    const held = this.#hosts.get(host);
    if (held) held.isStale = true;
  }

  score(attempt: Attempt): void {
    const { slot, host, work } = attempt;
    const { random, later, tell } = this.#options;
    const held = this.#hosts.get(host);
    if (held?.isStale === true && held.attempt) {
      return later(random.between(1, 5), () => tell(handedBack(attempt)));
    }
    if (!held || held.isStale) {
      this.#hosts.delete(host);
      return later(random.between(1, 50), () => tell({ kind: 'attempt-unstarted', slot, host, work }));
    }
    if (held.attempt) return void held.queue.push(attempt);
    this.#begin(held, attempt);
  }

  #begin(held: Host, attempt: Attempt): void {
    const { later } = this.#options;
    held.state = 'running';
    held.attempt = attempt;
    const tookMs = this.#duration();
    const fate = this.#fateOf(attempt);
    if (fate.kind === 'fine') later(tookMs, () => this.#finish(held, attempt, tookMs));
    else this.#fail(held, attempt, fate, tookMs);
  }

  #duration(): number {
    const { random, slowMs, scoreMs } = this.#options;
    const [fastest, slowest] = scoreMs;
    const evenMs = random.between(fastest, slowest);
    return slowMs > 0 && random.chance(0.2) ? slowMs : evenMs;
  }

  /** `file`: place of the one to blame; −1 when it is the node. */
  #fateOf({ staged, isAlone }: Attempt): { readonly kind: FileFate; readonly file: number } {
    const { sickness, input } = this.#options;
    // `hungry` takes what a node has, and nothing else may.
    const isBad = (fate: FileFate): boolean => isDeadly(fate) || (fate === 'hungry' && !isAlone);
    const file = staged.findIndex((one) => isBad(input.fateOf(one)));
    return { kind: sickness ?? (file < 0 ? 'fine' : input.fateOf(staged[file] as number)), file };
  }

  #fail(held: Host, attempt: Attempt, fate: { readonly kind: FileFate; readonly file: number }, tookMs: number): void {
    const { random, later, tell } = this.#options;
    const { host, timeoutMs, staged } = attempt;
    const { kind, file } = fate;
    const message = file < 0 ? 'the machine is broken' : `file ${staged[file]} is poison`;
    const isHostDead = kind !== 'error' && kind !== 'disk';
    // Not every scorer tells which file it was at.
    const fileIndex = random.chance(0.5) ? file : -1;
    const isTimeout = kind === 'hang' || kind === 'late';
    later(isTimeout ? timeoutMs : tookMs, () => {
      if (held.attempt !== attempt || this.#hosts.get(host) !== held) return;
      held.attempt = null;
      held.state = 'idle';
      if (isHostDead) {
        this.#hosts.delete(host);
        for (const queued of held.queue.splice(0)) tell(handedBack(queued));
      }
      this.#next(held);
      tell(failed(attempt, failureCodes[kind] ?? 'SCORER_FAILED', message, fileIndex, isHostDead));
      // Word of a host that is dead for the node already.
      if (kind !== 'late') return;
      const result = this.#resultOf(attempt, this.#bodyOf(attempt), tookMs);
      later(random.between(1, 5_000), () => tell(scored(attempt, result, false)));
    });
  }

  #finish(held: Host, attempt: Attempt, tookMs: number): void {
    const { random, later, tell, keep, isGiven } = this.#options;
    const { slot, host, work } = attempt;
    if (held.attempt !== attempt || this.#hosts.get(host) !== held) return;
    held.attempt = null;
    held.state = 'idle';
    if (this.#diesUnheard(held, attempt)) return;
    const body = this.#bodyOf(attempt);
    if (isGiven(slot, host, work)) keep(work, host, body);
    const isQuiet = body.custom.length === 0 && random.chance(0.9);
    // What user code leaves is collected before anything queued is begun.
    const returned = isQuiet ? [] : held.queue.splice(0);
    this.#next(held);
    tell(scored(attempt, this.#resultOf(attempt, body, tookMs), isQuiet));
    for (const queued of returned) tell(handedBack(queued));
    if (held.state !== 'idle') return;
    if (!random.chance(deathRate)) return;
    later(random.between(0, 100), () => {
      if (this.#hosts.get(host) !== held || held.state !== 'idle') return;
      this.#hosts.delete(host);
      later(random.between(0, 20), () => tell({ kind: 'host-ended', slot, host }));
    });
  }

  #next(held: Host): void {
    const next = held.queue.shift();
    if (next) this.#begin(held, next);
  }

  /** Now and then the next one kills the host before the answer to this one has been heard. */
  #diesUnheard(held: Host, attempt: Attempt): boolean {
    const { random, later, tell } = this.#options;
    const [next] = held.queue;
    const kind = next && this.#fateOf(next).kind;
    if (next === undefined || kind === undefined || !['crash', 'memory'].includes(kind) || !random.chance(0.5))
      return false;
    held.queue.shift();
    this.#hosts.delete(next.host);
    const others = held.queue.splice(0);
    later(random.between(1, 5), () => {
      for (const unbegun of [attempt, ...others]) tell(handedBack(unbegun));
      tell(failed(next, failureCodes[kind] ?? 'SCORER_CRASHED', 'the host died', -1, true));
    });
    return true;
  }

  #bodyOf({ staged, part, host, work }: Attempt): SimBody {
    const { input, node, life } = this.#options;
    return part ? bodyOfPart(part) : bodyOf(input, staged, markOf(node, life, host, work));
  }

  #resultOf(attempt: Attempt, { rows, custom }: SimBody, tookMs: number): HeldResult {
    return {
      summary: attempt.part ? summaryOfPart(tookMs) : this.#summaryOf(attempt, tookMs),
      bytes: rows.length,
      crc32: crc32(rows),
      customBytes: custom.length,
      customCrc32: crc32(custom),
    };
  }

  /** Of the staged files. */
  #summaryOf({ staged }: Attempt, tookMs: number): ResultSummary {
    const { input } = this.#options;
    const isDecoded = (file: number): boolean => input.fateOf(file) !== 'undecodable';
    const failed = staged.flatMap((file, index) =>
      isDecoded(file) ? [] : [{ index, code: 'INPUT_DECODE_FAILED', message: 'no image' } as const],
    );
    const isOther = staged.some((file) => input.fateOf(file) === 'other-columns');
    const rowCount = staged.length - failed.length;
    return {
      rows: rowCount,
      attribution: 'file',
      fileRows: staged.map((file) => (isDecoded(file) ? 1 : 0)),
      failed,
      schema: rowCount === 0 ? null : { columns: isOther ? otherColumns : columns, prologue },
      runSeconds: tookMs / 1_000,
      peakMemoryBytes: failed.length > 0 ? 1_000_000 * staged.length : null,
    };
  }
}

/** One row tells of one file. */
function summaryOfPart(tookMs: number): ResultSummary {
  return {
    ...{ rows: 1, attribution: 'file', fileRows: [1], failed: [] },
    ...{ schema: { columns: [], prologue: '' }, runSeconds: tookMs / 1_000, peakMemoryBytes: null },
  };
}

function scored({ slot, host, work }: Attempt, result: HeldResult, isQuiet: boolean): WorkerCommand {
  return { kind: 'scored', slot, host, work, result, isQuiet };
}

function handedBack({ slot, host, work }: Attempt): WorkerCommand {
  return { kind: 'handed-back', slot, host, work };
}

function failed(
  { slot, host, work }: Attempt,
  code: ErrorCode,
  message: string,
  fileIndex: number,
  isHostDead: boolean,
): WorkerCommand {
  const failure = { code, message, detail: '' };
  const circumstances = { peakMemoryBytes: null, hostExit: isHostDead ? 'signal SIGKILL' : null };
  return { kind: 'attempt-failed', slot, host, work, failure, fileIndex, circumstances, isHostDead };
}
