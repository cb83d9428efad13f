/** Brings the journal on this disk and its stream to the same end, once the one is replayed: each gets what only the other has. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { BatchError, type Failure } from '../../../common/core/batch-error.ts';
import type { Clock } from '../../../common/io/clock.ts';
import type { Delay } from '../../../common/io/delay.ts';
import type { LockIdentity } from '../../../common/io/lock-file.ts';
import type { FileSystem } from '../../../common/ports/file-system.ts';
import type { JournalStream } from '../../../common/ports/journal-stream.ts';
import { frameHeaderBytes, segmentHeaderBytes, type ChainState } from '../frame-format.ts';
import type { Recovered } from '../recovery.ts';
import { listSegments, segmentName, type SegmentFiles } from '../segment-files.ts';
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
  readonly clock: Clock;
  readonly delay: Delay;
  readonly identity: LockIdentity;
}

/** Where the journal stands then, and the way to append to the stream. @throws JOURNAL_STREAM_LOST, JOURNAL_FENCED, JOURNAL_STREAM_UNREACHABLE */
export async function caughtUp(options: CatchUpOptions): Promise<readonly [Recovered, StreamWriter]> {
  const { stream, aligned, replayed, clock, delay, onStall, untilLeading } = options;
  const follower = new Follower(options);
  await follower.upTo(aligned.last);
  let { last } = aligned;
  if (untilLeading) {
    await follower.until(untilLeading());
    ({ last } = await stream.ends());
    if (last < follower.seen) throw lostTail(last, follower.seen);
    await follower.upTo(last);
  }
  const { state } = follower;
  const records = replayed.recovery.records + state.sequence - replayed.state.sequence;
  const writer = new StreamWriter({ stream, place: last, clock, delay, onStall });
  // Whoever leads meanwhile has gone on without them: the next append would say so.
  if (aligned.unpublished && last === aligned.last) await publish(options, aligned.unpublished, writer);
  // What is done to files from here on, by what the records say, nobody else contradicts.
  await writer.fence(openingId(options), new AbortController().signal);
  return [{ ...replayed, state, recovery: { ...replayed.recovery, records } }, writer];
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
      onRecord(JSON.parse(frame.bytes.toString('utf8', frameHeaderBytes)), frame.sequence);
      this.state = { sequence: frame.sequence, epoch: frame.epoch, chain: frame.crc };
      this.#place = frame.place;
      this.seen = Math.max(this.seen, frame.end);
      await this.#gathered.add(frame, groupBytesMax);
    }
    await this.#gathered.write();
  }
}

/** Frames on their way into the segments, many with one sync. */
class Gathered {
  readonly #segments: SegmentFiles;
  #frames: StreamFrame[] = [];
  #bytes = 0;
  #before: ChainState;

  constructor(segments: SegmentFiles, before: ChainState) {
    this.#segments = segments;
    this.#before = before;
  }

  async add(frame: StreamFrame, bytesMax: number): Promise<void> {
    if (this.#bytes + frame.bytes.length > bytesMax) await this.write();
    this.#frames.push(frame);
    this.#bytes += frame.bytes.length;
  }

  async write(): Promise<void> {
    const [first] = this.#frames;
    const last = this.#frames.at(-1);
    if (!first || !last) return;
    const buffer = Buffer.concat(this.#frames.map(({ bytes }) => bytes));
    await this.#segments.append({
      ...{ buffer, usedBytes: buffer.length, firstSequence: first.sequence, lastSequence: last.sequence },
      ...{ chainBefore: this.#before.chain, startsSegment: false },
    });
    this.#before = { sequence: last.sequence, epoch: last.epoch, chain: last.crc };
    this.#frames = [];
    this.#bytes = 0;
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
