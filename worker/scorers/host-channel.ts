/** The host's end of the two channels to the worker node: frames on descriptor 3, the side channel on descriptor 4. */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { crc32 } from 'node:zlib';
import { frameHeader, FrameReader, type Frame } from '../../common/core/frame.ts';
import { hostFrame } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';

const framesDescriptor = 3;
const sideDescriptor = 4;

export interface HostChannel {
  /** Sends a message; resolves when there is room for the next. */
  send(type: number, message: unknown): Promise<void>;
  /** Sends rows in pieces that fit a frame; resolves when there is room for more. */
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

  const write = async (type: number, payload: Uint8Array): Promise<void> => {
    socket.cork();
    socket.write(frameHeader(type, payload, crc32));
    const hasRoom = socket.write(payload);
    socket.uncork();
    if (!hasRoom && !socket.destroyed) await new Promise<void>((resolve) => socket.once('drain', resolve));
  };
  return {
    send: (type, message) => write(type, Buffer.from(JSON.stringify(message))),
    sendRows: async (bytes) => {
      for (let at = 0; at < bytes.length; at += limits.frameRowsBytes) {
        await write(hostFrame.rows, bytes.subarray(at, at + limits.frameRowsBytes));
      }
    },
    close: () => new Promise<void>((resolve) => socket.end(resolve)),
  };
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
