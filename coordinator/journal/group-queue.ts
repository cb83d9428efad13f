/**
 * Gathers records into groups: what one write and one sync take. A record is encoded once, straight into its group's buffer,
 * when it is appended; two buffers take turns for as long as the disk keeps up.
 */
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { frameHeaderBytes, sealFrame, type ChainState } from './frame-format.ts';

export interface Group {
  readonly buffer: Buffer;
  usedBytes: number;
  readonly firstSequence: number;
  lastSequence: number;
  /** Of the frame before the group. */
  readonly chainBefore: number;
  /** Whether it must be the first group of a segment: a snapshot holds all that was before it. */
  readonly startsSegment: boolean;
}

export class GroupQueue {
  readonly #groupBytesMax: number;
  readonly #spare: Buffer[] = [];
  readonly #groups: Group[] = [];
  #state: ChainState;
  #epoch: number;
  #startsSegment = false;

  constructor(groupBytesMax: number, state: ChainState) {
    this.#groupBytesMax = groupBytesMax;
    this.#state = state;
    this.#epoch = state.epoch;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get isEmpty(): boolean {
    return this.#groups.length === 0;
  }

  /** Bytes that are not on the disk yet. */
  get bytes(): number {
    return this.#groups.reduce((sum, group) => sum + group.usedBytes, 0);
  }

  beginEpoch(): number {
    this.#epoch += 1;
    return this.#epoch;
  }

  /** Returns the record's sequence. */
  add(record: unknown): number {
    const text = JSON.stringify(record);
    invariant(typeof text === 'string', `a journal record is JSON, not ${typeof record}`);
    const sequence = this.#state.sequence + 1;
    const [group, startsGroup] = this.#groupFor(text, sequence);
    const at = group.usedBytes;
    const bytes = group.buffer.write(text, at + frameHeaderBytes, 'utf8');
    const chain = sealFrame(group.buffer, at, { bytes, startsGroup, sequence, epoch: this.#epoch }, this.#state.chain);
    group.usedBytes = at + frameHeaderBytes + bytes;
    group.lastSequence = sequence;
    this.#state = { sequence, epoch: this.#epoch, chain };
    return sequence;
  }

  /** The next record begins a segment. Returns where the journal stands before it. */
  cut(): ChainState {
    this.#startsSegment = true;
    return { ...this.#state, epoch: this.#epoch };
  }

  /** The oldest group, which takes no more records from now on. */
  take(): Group | undefined {
    return this.#groups.shift();
  }

  /** Gives a written group's buffer back. */
  release(group: Group): void {
    if (group.buffer.length === this.#groupBytesMax && this.#spare.length < 2) this.#spare.push(group.buffer);
  }

  /** The group in which `text` has room, and whether it is the first record in it. */
  #groupFor(text: string, sequence: number): readonly [Group, boolean] {
    const last = this.#startsSegment ? undefined : this.#groups.at(-1);
    const room = last === undefined ? 0 : last.buffer.length - last.usedBytes;
    // A code unit is at most 3 bytes; the exact count is only worth the time near the end of a buffer.
    if (last && frameHeaderBytes + text.length * 3 <= room) return [last, false];
    const frameBytes = frameHeaderBytes + Buffer.byteLength(text);
    if (last && frameBytes <= room) return [last, false];
    invariant(
      frameBytes - frameHeaderBytes <= limits.journalRecordBytesMax,
      `a journal record has at most ${limits.journalRecordBytesMax} bytes, not ${frameBytes - frameHeaderBytes}`,
    );
    const group: Group = {
      buffer: this.#buffer(frameBytes),
      usedBytes: 0,
      firstSequence: sequence,
      lastSequence: sequence,
      chainBefore: this.#state.chain,
      startsSegment: this.#startsSegment,
    };
    this.#startsSegment = false;
    this.#groups.push(group);
    return [group, true];
  }

  #buffer(frameBytes: number): Buffer {
    if (frameBytes > this.#groupBytesMax) return Buffer.allocUnsafeSlow(frameBytes);
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#groupBytesMax);
  }
}
