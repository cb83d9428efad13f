/**
 * Bytes of results between their arrival and their place on the disk. A small result is held in memory, and its credit
 * with it, until it is written; a large one goes piece by piece into a staging segment of its own.
 */
import { crc32 } from 'node:zlib';
import { BatchError } from '../common/core/batch-error.ts';
import { invariant } from '../common/core/invariant.ts';
import { limits } from '../common/core/limits.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import { HeldBytes } from '../common/io/held-bytes.ts';
import type { SegmentSink } from './output/segment-sink.ts';
import type { UploadedPiece, UploadProgress } from './service/cluster-server.ts';

interface Held {
  readonly totalBytes: number;
  receivedBytes: number;
  /** Of a result that came whole. */
  readonly whole: Uint8Array | null;
  /** Of one that comes in pieces, which is written some syncs later. */
  readonly held: HeldBytes;
  /** Of a result with a segment of its own. */
  readonly sink: SegmentSink | null;
  readonly freed: (() => void)[];
}

export interface ResultStoreOptions {
  /** A segment for a result that is too large for memory. @throws LEASE_STALE */
  readonly openSegment: (token: Token) => SegmentSink;
}

export class ResultStore {
  readonly #options: ResultStoreOptions;
  readonly #held = new Map<string, Held>();
  /** The newest upload of a result, while what came of those before goes. */
  readonly #beginning = new Map<string, symbol>();
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(options: ResultStoreOptions) {
    this.#options = options;
  }

  /** Bytes of results in memory. */
  get heldBytes(): number {
    let bytes = 0;
    for (const { sink, receivedBytes } of this.#held.values()) if (sink === null) bytes += receivedBytes;
    return bytes;
  }

  /** A result that came whole on the control stream. */
  putInline(token: Token, bytes: Uint8Array): void {
    this.#held.set(formatToken(token), {
      totalBytes: bytes.length,
      receivedBytes: bytes.length,
      whole: bytes.length === 0 ? null : bytes,
      held: new HeldBytes(),
      sink: null,
      freed: [],
    });
  }

  /** @throws REQUEST_INVALID when the pieces do not follow each other, and what opening a segment throws */
  async putPiece(piece: UploadedPiece): Promise<UploadProgress> {
    const held = await this.#heldFor(piece);
    if (piece.offset !== held.receivedBytes || piece.offset + piece.data.length > held.totalBytes) {
      throw new BatchError(
        'REQUEST_INVALID',
        `a piece of result ${formatToken(piece.token)} covers bytes ${piece.offset} to ${piece.offset + piece.data.length}, ` +
          `wanted is ${held.receivedBytes} on, of ${held.totalBytes}`,
      );
    }
    held.receivedBytes += piece.data.length;
    const isComplete = held.receivedBytes === held.totalBytes;
    if (held.sink) {
      await held.sink.write(piece.offset, piece.data);
      return { isComplete, freed: Promise.resolve() };
    }
    held.held.add(piece.data);
    return { isComplete, freed: new Promise((resolve) => held.freed.push(resolve)) };
  }

  /**
   * Length and checksum of a complete result; undefined while bytes are missing, null when its upload has been begun anew
   * meanwhile: then what was said of it holds no more, and is said again.
   */
  async whole(token: Token): Promise<{ readonly length: number; readonly crc32: number } | undefined | null> {
    const key = formatToken(token);
    const held = this.#held.get(key);
    if (!held || held.receivedBytes !== held.totalBytes) return this.#leaving.has(key) ? null : undefined;
    if (!held.sink)
      return { length: held.totalBytes, crc32: piecesOf(held).reduce((crc, piece) => crc32(piece, crc), 0) };
    const sum = await held.sink.sync();
    return this.#held.get(key) === held ? { length: held.totalBytes, crc32: sum } : null;
  }

  /** The bytes, for writing; they stay held until {@link release}. */
  pieces(token: Token): readonly Uint8Array[] {
    const held = this.#held.get(formatToken(token));
    invariant(held !== undefined, `no bytes are held for result ${formatToken(token)}`);
    return piecesOf(held);
  }

  /** Written: memory and credit are free again. */
  release(token: Token): void {
    this.#let(token)?.held.release();
  }

  /** Not wanted any more. */
  discard(token: Token): void {
    // What cannot be removed now goes with the segment's own removal, or with the job.
    this.#held
      .get(formatToken(token))
      ?.sink?.abandon()
      .catch(() => undefined);
    this.#let(token);
  }

  /** What a write may still look at is nobody else's memory. */
  #let(token: Token): Held | undefined {
    const key = formatToken(token);
    const held = this.#held.get(key);
    this.#held.delete(key);
    for (const free of held?.freed ?? []) free();
    return held;
  }

  async #heldFor(piece: UploadedPiece): Promise<Held> {
    const key = formatToken(piece.token);
    const known = this.#held.get(key);
    if (piece.offset > 0) {
      if (known) return known;
      throw new BatchError('REQUEST_INVALID', `the first piece of result ${key} begins at 0, not at ${piece.offset}`);
    }
    await this.#begin(piece.token);
    const isLarge = piece.totalBytes > limits.directAppendBytesMax;
    const sink = isLarge ? this.#options.openSegment(piece.token) : null;
    const held: Held = {
      totalBytes: piece.totalBytes,
      receivedBytes: 0,
      whole: null,
      held: new HeldBytes(),
      sink,
      freed: [],
    };
    this.#held.set(key, held);
    return held;
  }

  /**
   * When it resolves, nothing is left of an earlier upload of this result.
   * @throws REQUEST_INVALID when yet another one has begun since
   */
  async #begin(token: Token): Promise<void> {
    const key = formatToken(token);
    const beginning = Symbol(key);
    this.#beginning.set(key, beginning);
    while (this.#held.has(key) || this.#leaving.has(key)) await (this.#leaving.get(key) ?? this.#leave(token));
    if (this.#beginning.get(key) !== beginning) {
      throw new BatchError('REQUEST_INVALID', `result ${key} is uploaded once more, this upload is not wanted`);
    }
    this.#beginning.delete(key);
  }

  /** What came of an upload is nobody's from now on, and gone when this resolves. */
  async #leave(token: Token): Promise<void> {
    const key = formatToken(token);
    const known = this.#held.get(key);
    this.#let(token);
    const gone = Promise.resolve(known?.sink?.abandon()).finally(() => this.#leaving.delete(key));
    this.#leaving.set(key, gone);
    await gone;
  }
}

function piecesOf({ whole, held }: Held): readonly Uint8Array[] {
  return whole === null ? held.parts() : [whole];
}
