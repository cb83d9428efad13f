/** The host's end of the two channels to the worker node: frames on descriptor 3, the side channel on descriptor 4. */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { crc32 } from 'node:zlib';
import { frameHeader, FrameReader, type Frame } from '../../common/core/frame.ts';
import { hostFrame } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';

const framesDescriptor = 3;
const sideDescriptor = 4;

export interface HostChannel {
  /** Sends a message behind all rows; resolves when there is room for the next. */
  send(type: number, message: unknown): Promise<void>;
  /** Takes rows, which leave in frames as full as can be, or when some have waited; resolves when there is room for more. */
  sendRows(bytes: Uint8Array): Promise<void>;
  /** Sends what is under way, then closes the channel. */
  close(): Promise<void>;
}

export interface HostChannelOptions {
  readonly onFrame: (frame: Frame) => void;
  /** The worker node is gone, or wrote something that is no frame. */
  readonly onEnd: (error?: unknown) => void;
}

export function openHostChannel(options: HostChannelOptions): HostChannel {
  const socket = new Socket({ fd: framesDescriptor, readable: true, writable: true });
  const reader = new FrameReader(crc32);
  socket.on('data', (bytes) => {
    try {
      reader.push(bytes).forEach(options.onFrame);
    } catch (error) {
      options.onEnd(error);
    }
  });
  socket.on('end', () => options.onEnd());
  socket.on('close', () => options.onEnd());
  // The worker node died while something was under way to it; 'close' follows.
  socket.on('error', () => undefined);

  let isCorked = false;
  const uncork = (): void => {
    if (isCorked) socket.uncork();
    isCorked = false;
  };
  const write = async (type: number, payload: Uint8Array): Promise<void> => {
    if (!isCorked) socket.cork();
    isCorked = true;
    socket.write(frameHeader(type, payload, crc32));
    const hasRoom = socket.write(payload);
    // The rows of a small mini-batch leave together with the word that it is done, which is said before the next one is begun.
    if (type === hostFrame.rows) process.nextTick(uncork);
    else uncork();
    if (!hasRoom && !socket.destroyed) await new Promise<void>((resolve) => socket.once('drain', resolve));
  };
  const rows = new HeldRows();
  const sendHeld = async (): Promise<void> => {
    for (const frame of rows.take()) await write(hostFrame.rows, frame);
  };
  return {
    send: async (type, message) => {
      await sendHeld();
      await write(type, Buffer.from(JSON.stringify(message)));
    },
    sendRows: async (bytes) => {
      rows.add(bytes);
      if (rows.isDue) await sendHeld();
    },
    close: () => new Promise<void>((resolve) => socket.end(resolve)),
  };
}

/** Rows that wait for a frame to be full: each costs both sides a way through the kernel. */
class HeldRows {
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Monotonic milliseconds. */
  #leftAt = systemClock.monotonic();

  /** A full frame, or rows of a mini-batch whose time begins anew when the worker node hears of them. */
  get isDue(): boolean {
    return this.#bytes >= limits.frameRowsBytes || systemClock.monotonic() - this.#leftAt >= limits.rowsHeldMs;
  }

  add(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** All of them, as frames. */
  take(): Uint8Array[] {
    const [only] = this.#pieces;
    const all = only && this.#pieces.length === 1 ? only : Buffer.concat(this.#pieces, this.#bytes);
    const { frameRowsBytes } = limits;
    this.#pieces = [];
    this.#bytes = 0;
    this.#leftAt = systemClock.monotonic();
    return Array.from({ length: Math.ceil(all.length / frameRowsBytes) }, (_, frame) =>
      all.subarray(frame * frameRowsBytes, (frame + 1) * frameRowsBytes),
    );
  }
}

/**
 * Writes `<sequence> <file index>` at once, so that it is known even if the process dies with the next instruction.
 * What cannot be written is left out: the worker node does not read (EAGAIN) or is gone (EPIPE), and then nobody asks.
 */
export function writeSideChannel(sequence: number, index: number): void {
  try {
    writeSync(sideDescriptor, `${sequence} ${index}\n`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EAGAIN' && code !== 'EPIPE') throw error;
  }
}
