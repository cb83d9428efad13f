/** Brings the journal on this disk and its stream to the same end, once the one is replayed: each gets what only the other has. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { BatchError, type Failure } from '../../../common/core/batch-error.ts';
import { limits } from '../../../common/core/limits.ts';
import type { Clock } from '../../../common/io/clock.ts';
import type { Delay } from '../../../common/io/delay.ts';
import type { LockIdentity } from '../../../common/io/lock-file.ts';
import type { FileSystem } from '../../../common/ports/file-system.ts';
import type { JournalStream } from '../../../common/ports/journal-stream.ts';
import { frameHeaderBytes, segmentHeaderBytes, type ChainState } from '../frame-format.ts';
import type { Recovered } from '../recovery.ts';
import { listSegments, segmentName, type SegmentFiles } from '../segment-files.ts';
import { Snapshots, type JournalImage, type SnapshotTaken } from '../snapshots.ts';
import type { Alignment, DiskPlace } from './align.ts';
import { framesOf, streamFrames, type StreamFrame } from './stream-frames.ts';
import { StreamWriter } from './stream-writer.ts';

export interface CatchUpOptions {
  readonly stream: JournalStream;
  readonly aligned: Alignment;
  readonly replayed: Recovered;
  readonly segments: SegmentFiles;
  readonly fileSystem: FileSystem;
  /** Of the segments. */
  readonly dir: string;
  readonly groupBytesMax: number;
  readonly onRecord: (record: unknown, sequence: number) => void;
  readonly onStall: (failure: Failure | null) => void;
  /** Resolves when it is this process's turn to append; until then it follows the stream. Null: it is. */
  readonly untilLeading: (() => Promise<void>) | null;
  /** @throws NOT_LEADING once another process may have its turn. Null: there is no other. */
  readonly requireLeading: (() => void) | null;
  readonly clock: Clock;
  readonly delay: Delay;
  readonly identity: LockIdentity;
  readonly sizes: { readonly reserveBytes: number; readonly snapshotBytes?: number };
  /** See {@link SnapshotsOptions}: whoever follows for weeks keeps no more of the journal than one who leads. */
  readonly image: JournalImage | null;
  readonly onSnapshot: (taken: SnapshotTaken) => void;
  readonly onSnapshotRefused: (failure: Failure) => void;
}

/** Where the journal stands then, and the way to append to the stream. @throws JOURNAL_STREAM_LOST, JOURNAL_FENCED, JOURNAL_STREAM_UNREACHABLE */
export async function caughtUp(options: CatchUpOptions): Promise<readonly [Recovered, StreamWriter]> {
  const { stream, aligned, replayed, clock, delay, onStall, untilLeading } = options;
  const follower = new Follower(options);
  await follower.upTo(aligned.last);
  let { last } = aligned;
  if (untilLeading) {
    await follower.until(untilLeading());
    last = await endBehind(options, follower.seen);
    await follower.upTo(last);
  }
  const { state } = follower;
  const left = await follower.end();
  const records = replayed.recovery.records + state.sequence - replayed.state.sequence;
  const writer = new StreamWriter({ stream, place: last, clock, delay, onStall });
  // Whoever slept for longer than its turn would depose the one that has it now. Who gets it behind this line begins with a message, so
  // that the one below is refused.
  options.requireLeading?.();
  // What is done from here on nobody else contradicts.
  await writer.fence(openingId(options), new AbortController().signal);
  // Of those that were taken for orphans a server may only not have known its own end; the fence has shown where it is.
  for (const orphan of aligned.orphans) if (orphan.place > last + 1) await stream.removeSnapshot(orphan);
  // Otherwise whoever has led meanwhile has gone on without them.
  if (aligned.unpublished && last === aligned.last) await publish(options, aligned.unpublished, writer);
  return [{ ...replayed, ...left, state, recovery: { ...replayed.recovery, records } }, writer];
}

/** Where the stream ends, which is not before `seen`: a server that was deposed and does not know it yet is asked again. */
async function endBehind({ stream, clock, delay }: CatchUpOptions, seen: number): Promise<number> {
  const begin = clock.monotonic();
  for (;;) {
    const { last } = await stream.ends();
    if (last >= seen) return last;
    if (clock.monotonic() - begin >= limits.journalStreamStallMs) throw lostTail(last, seen);
    await delay(limits.journalStreamRetryMs, new AbortController().signal);
  }
}

function lostTail(last: number, seen: number): BatchError {
  return new BatchError(
    'JOURNAL_STREAM_LOST',
    `the stream ends at message ${last}, and message ${seen} was read before: its servers have lost what they had taken`,
  );
}

/** No other process, and no other life of this one, has it: two that read the same stream at one time would else append the same bytes. */
function openingId({ identity, clock }: CatchUpOptions): Uint8Array {
  const text = JSON.stringify([identity.self, clock.wall(), clock.monotonic()]);
  return createHash('sha256').update(text).digest().subarray(0, 16);
}

/** Takes the records of the stream behind those of the disk. */
class Follower {
  readonly #options: CatchUpOptions;
  readonly #gathered: Gathered;
  readonly #snapshots: Snapshots | null;
  /** Of a snapshot that could not be written; told at the next step. */
  #failed: unknown = null;
  state: ChainState;
  /** Message of the group in which `state` lies. */
  #place: number;
  /** The last message that was there. */
  seen: number;

  constructor(options: CatchUpOptions) {
    this.#options = options;
    this.state = options.replayed.state;
    this.#place = options.aligned.place;
    this.seen = options.aligned.last;
    this.#gathered = new Gathered(options.segments, this.state);
    this.#snapshots = options.image && this.#openSnapshots(options, options.image);
  }

  #openSnapshots(options: CatchUpOptions, image: JournalImage): Snapshots {
    const { fileSystem, dir, sizes, replayed, segments, clock, onSnapshot, onSnapshotRefused } = options;
    return new Snapshots(
      {
        ...{ fileSystem, dir, image, kept: replayed.snapshots, reserveBytes: sizes.reserveBytes },
        intervalBytes: sizes.snapshotBytes ?? limits.journalSnapshotBytes,
        monotonic: () => clock.monotonic(),
        cut: () => this.#gathered.cut(),
        // It is asked for when all is written.
        durable: () => Promise.resolve(true),
        removeSegments: (sequence) => segments.removeUpTo(sequence),
        onTaken: onSnapshot,
        onRefused: onSnapshotRefused,
        onFatal: (error) => (this.#failed = error),
      },
      replayed.replayedBytes,
    );
  }

  /** What the journal goes on with. */
  async end(): Promise<Pick<Recovered, 'snapshots' | 'replayedBytes'>> {
    if (!this.#snapshots) return this.#options.replayed;
    await this.#snapshots.close();
    this.#refuseFailed();
    await this.#gathered.end();
    return { snapshots: this.#snapshots.kept, replayedBytes: this.#snapshots.grownBytes };
  }

  #refuseFailed(): void {
    if (this.#failed !== null) throw this.#failed;
  }

  async upTo(last: number): Promise<void> {
    await this.#take(streamFrames(this.#options.stream, { first: this.#place, last }, this.state));
  }

  async until(turn: Promise<void>): Promise<void> {
    const over = new AbortController();
    // A turn that will never come ends the following too.
    const ended = turn.finally(() => over.abort());
    await Promise.all([
      ended,
      this.#take(framesOf(this.#options.stream.follow(this.#place, over.signal), this.#place, this.state)),
    ]);
  }

  async #take(frames: AsyncIterable<StreamFrame>): Promise<void> {
    const { onRecord, groupBytesMax } = this.#options;
    for await (const frame of frames) {
      if (this.#gathered.isFull(frame, groupBytesMax)) await this.#write();
      onRecord(JSON.parse(frame.bytes.toString('utf8', frameHeaderBytes)), frame.sequence);
      this.state = { sequence: frame.sequence, epoch: frame.epoch, chain: frame.crc };
      this.#place = frame.place;
      this.seen = Math.max(this.seen, frame.end);
      this.#gathered.add(frame);
    }
    await this.#write();
  }

  async #write(): Promise<void> {
    const bytes = await this.#gathered.write();
    this.#refuseFailed();
    // Not before all that the ledger has is on the disk.
    this.#snapshots?.grown(bytes, false);
  }
}

/** Frames on their way into the segments, many with one sync. */
class Gathered {
  readonly #segments: SegmentFiles;
  #frames: StreamFrame[] = [];
  #bytes = 0;
  #before: ChainState;
  #startsSegment = false;

  constructor(segments: SegmentFiles, before: ChainState) {
    this.#segments = segments;
    this.#before = before;
  }

  isFull(frame: StreamFrame, bytesMax: number): boolean {
    return this.#bytes + frame.bytes.length > bytesMax;
  }

  add(frame: StreamFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.bytes.length;
  }

  /** Where all that was written ends; what comes next begins a segment. */
  cut(): ChainState {
    this.#startsSegment = true;
    return this.#before;
  }

  /** Behind a snapshot a segment begins, also when somebody else appends to it. */
  async end(): Promise<void> {
    if (this.#startsSegment) await this.#segments.close();
  }

  /** Returns the bytes. */
  async write(): Promise<number> {
    const [first] = this.#frames;
    const last = this.#frames.at(-1);
    if (!first || !last) return 0;
    const buffer = Buffer.concat(this.#frames.map(({ bytes }) => bytes));
    await this.#segments.append({
      ...{ buffer, usedBytes: buffer.length, firstSequence: first.sequence, lastSequence: last.sequence },
      ...{ chainBefore: this.#before.chain, startsSegment: this.#startsSegment },
    });
    this.#before = { sequence: last.sequence, epoch: last.epoch, chain: last.crc };
    this.#startsSegment = false;
    this.#frames = [];
    this.#bytes = 0;
    return buffer.length;
  }
}

/** Records of the disk behind those of the stream. The replay has cut what was torn, so that whole frames are left. */
async function publish({ fileSystem, dir }: CatchUpOptions, from: DiskPlace, writer: StreamWriter): Promise<void> {
  const never = new AbortController().signal;
  for (const number of await listSegments(fileSystem, dir)) {
    if (number < from.segment) continue;
    const offset = number === from.segment ? from.offset : segmentHeaderBytes;
    const file = await fileSystem.open(join(dir, segmentName(number)), 'read');
    try {
      const bytes = Buffer.allocUnsafe(Math.max(0, (await file.sizeBytes()) - offset));
      const found = await file.read(bytes, offset);
      if (found > 0) await writer.append(bytes.subarray(0, found), never);
    } finally {
      await file.close();
    }
  }
}
