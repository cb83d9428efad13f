/** What user code prints on one slot for one job, appended to two files, up to a bound. */
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { dirname } from 'node:path';
import { limits } from '../common/core/limits.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';

export interface HostLogOptions {
  readonly stdoutPath: string;
  readonly stderrPath: string;
  readonly log: Log;
}

export class HostLog {
  readonly #stdout: BoundedFile;
  readonly #stderr: BoundedFile;

  constructor(options: HostLogOptions) {
    this.#stdout = new BoundedFile(options.stdoutPath, options.log);
    this.#stderr = new BoundedFile(options.stderrPath, options.log);
  }

  append(stream: 'stdout' | 'stderr', chunk: Uint8Array): void {
    (stream === 'stdout' ? this.#stdout : this.#stderr).append(chunk);
  }

  async close(): Promise<void> {
    await Promise.all([this.#stdout.close(), this.#stderr.close()]);
  }
}

/** Made when the first byte comes: most scripts print nothing. */
class BoundedFile {
  readonly #path: string;
  readonly #log: Log;
  #stream: WriteStream | null = null;
  #bytes = 0;
  #isOver = false;

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  append(chunk: Uint8Array): void {
    if (this.#isOver) return;
    this.#bytes += chunk.length;
    const stream = (this.#stream ??= this.#open());
    if (!stream) return;
    // A disk that is slower than a script’s prints must not fill the memory of the node.
    if (this.#bytes > limits.hostLogBytesMax || stream.writableLength > limits.spoolMemoryBytesMax) {
      this.#isOver = true;
      stream.write(`\n[batchmill: more than ${limits.hostLogBytesMax} bytes; the rest is not kept]\n`);
      return;
    }
    stream.write(chunk);
  }

  close(): Promise<void> {
    this.#isOver = true;
    const stream = this.#stream;
    if (!stream || stream.closed) return Promise.resolve();
    return new Promise((resolve) => {
      stream.once('close', resolve);
      stream.end();
    });
  }

  #open(): WriteStream | null {
    try {
      mkdirSync(dirname(this.#path), { recursive: true });
    } catch (error) {
      this.#giveUp(error);
      return null;
    }
    const stream = createWriteStream(this.#path, { flags: 'a' });
    stream.on('error', (error) => this.#giveUp(error));
    return stream;
  }

  /** Scoring goes on without its log. */
  #giveUp(error: unknown): void {
    this.#isOver = true;
    this.#log.warn('the log of a scoring host cannot be written', { path: this.#path, reason: reasonOf(error) });
  }
}
