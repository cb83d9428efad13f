/** Brings the journal on this disk and its stream to the same end, once the one is replayed: each gets what only the other has. */
import { join } from 'node:path';
import type { Failure } from '../../../common/core/batch-error.ts';
import type { Clock } from '../../../common/io/clock.ts';
import type { Delay } from '../../../common/io/delay.ts';
import type { FileSystem } from '../../../common/ports/file-system.ts';
import type { JournalStream } from '../../../common/ports/journal-stream.ts';
import { frameHeaderBytes, segmentHeaderBytes, type ChainState } from '../frame-format.ts';
import type { Recovered } from '../recovery.ts';
import { listSegments, segmentName, type SegmentFiles } from '../segment-files.ts';
import type { Alignment, DiskPlace } from './align.ts';
import { streamFrames, type StreamFrame } from './stream-frames.ts';
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
  readonly clock: Clock;
  readonly delay: Delay;
}

/** Where the journal stands then, and the way to append to the stream. @throws JOURNAL_STREAM_LOST, JOURNAL_FENCED, JOURNAL_STREAM_UNREACHABLE */
export async function caughtUp(options: CatchUpOptions): Promise<readonly [Recovered, StreamWriter]> {
  const { stream, aligned, replayed, clock, delay, onStall } = options;
  const state = await takeOver(options);
  const records = replayed.recovery.records + state.sequence - replayed.state.sequence;
  const writer = new StreamWriter({ stream, place: aligned.last, clock, delay, onStall });
  if (aligned.unpublished) await publish(options, aligned.unpublished, writer);
  return [{ ...replayed, state, recovery: { ...replayed.recovery, records } }, writer];
}

/** Records of the stream behind those of the disk. */
async function takeOver(options: CatchUpOptions): Promise<ChainState> {
  const { stream, aligned, replayed, onRecord, groupBytesMax } = options;
  let { state } = replayed;
  const gathered = new Gathered(options.segments, state);
  for await (const frame of streamFrames(stream, { first: aligned.place, last: aligned.last }, state)) {
    onRecord(JSON.parse(frame.bytes.toString('utf8', frameHeaderBytes)), frame.sequence);
    state = { sequence: frame.sequence, epoch: frame.epoch, chain: frame.crc };
    await gathered.add(frame, groupBytesMax);
  }
  await gathered.write();
  return state;
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
