/**
 * What one scoring host leaves to read: its stdout and stderr, each up to a bound, the errors that it ended mini-batches
 * with, and a line for each mini-batch. Files are made when they have something to say.
 */
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Failure } from '../common/core/batch-error.ts';
import { processName, type BatchRecord, type ByteSpan, type ProcessRecord } from '../common/core/batch-record.ts';
import { limits } from '../common/core/limits.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { Log } from '../common/io/log.ts';
import type { MaskedStream, SecretMask } from './secret-mask.ts';

export interface HostLogOptions {
  /** Logs of the job on this node. */
  readonly dir: string;
  /** Of the job's shadow: its logs are told apart, and are none of the job's attempts. Null: of its own scorer. */
  readonly part?: 'shadow' | null;
  /** Number of the host within its job on this node. */
  readonly process: number;
  /** Of each stream. */
  readonly bytesMax: number;
  /** Secrets that may not be in it; null: none. */
  readonly mask: SecretMask | null;
  readonly log: Log;
}

/** Where the streams of a host end at present, in bytes of their files. */
export type LogPlace = Readonly<Record<'stdout' | 'stderr', number>>;

export class HostLog {
  readonly #streams: Readonly<Record<'stdout' | 'stderr', BoundedFile>>;
  readonly #errors: BoundedFile;
  readonly #records: BoundedFile;
  readonly #sheet: BoundedFile;
  readonly #process: BoundedFile;

  readonly #masked: Readonly<Record<'stdout' | 'stderr', MaskedStream>> | null;

  constructor({ dir, part = null, process, bytesMax, mask, log }: HostLogOptions) {
    this.#masked = mask && { stdout: mask.stream(), stderr: mask.stream() };
    const name = processName(process);
    const open = (path: string): BoundedFile => new BoundedFile({ path: join(dir, path), bytesMax, log });
    const user = part === null ? 'user' : `user/${part}`;
    this.#streams = {
      stdout: open(`${user}/stdout/${name}.stdout.txt`),
      stderr: open(`${user}/stderr/${name}.stderr.txt`),
    };
    this.#errors = open(`${user}/error/${name}.txt`);
    this.#records = open(`sys/mini_batches/${name}.jsonl`);
    this.#sheet = open(`sys/node/${name}.txt`);
    this.#process = open(`sys/processes/${name}.json`);
  }

  append(stream: 'stdout' | 'stderr', chunk: Uint8Array): void {
    this.#streams[stream].append(this.#masked?.[stream].push(chunk) ?? chunk);
  }

  get place(): LogPlace {
    this.#flush();
    return { stdout: this.#streams.stdout.bytes, stderr: this.#streams.stderr.bytes };
  }

  /** Of init(), or of a mini-batch. */
  error(what: string, failure: Failure, time: string): void {
    const detail = failure.detail === '' ? '' : `${failure.detail.trimEnd()}\n`;
    this.#errors.append(Buffer.from(`${time} ${what} failed: ${failure.code}: ${failure.message}\n${detail}\n`));
  }

  record(record: BatchRecord): void {
    this.#records.appendLine(`${JSON.stringify(record)}\n`);
    this.#sheet.appendLine(recordText(record));
  }

  /** Once, at its end. */
  ended(record: ProcessRecord): void {
    this.#process.append(Buffer.from(`${JSON.stringify(record)}\n`));
  }

  /** What was printed so far is in the log. */
  #flush(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const rest = this.#masked?.[stream].flush();
      if (rest && rest.length > 0) this.#streams[stream].append(rest);
    }
  }

  async close(): Promise<void> {
    this.#flush();
    const { stdout, stderr } = this.#streams;
    const files = [stdout, stderr, this.#errors, this.#records, this.#sheet, this.#process];
    await Promise.all(files.map((file) => file.close()));
  }
}

/** What was printed between two places. */
export function spansBetween(from: LogPlace, to: LogPlace): Readonly<Record<'stdout' | 'stderr', ByteSpan>> {
  return { stdout: [from.stdout, to.stdout], stderr: [from.stderr, to.stderr] };
}

function recordText(record: BatchRecord): string {
  const files =
    record.count === 1 ? `file ${record.first}` : `files ${record.first} to ${record.first + record.count - 1}`;
  const why = record.code === null ? '' : `, ${record.code}: ${record.message ?? ''}`;
  const cpu = record.cpu_seconds === null ? '' : ` (${record.cpu_seconds} s of processor time)`;
  return (
    `${record.start} ${record.status}: ${files}, try ${record.attempt} (lease ${record.token}), ` +
    `${record.run_seconds} s${cpu}, ${record.rows} rows, ${record.failed} failed${why.replaceAll('\n', ' ')}\n`
  );
}

/** Made when the first byte comes: most scripts print nothing. What is above the bound is counted and dropped. */
class BoundedFile {
  readonly #options: { readonly path: string; readonly bytesMax: number; readonly log: Log };
  #stream: WriteStream | null = null;
  /** A file that could not be written is not tried again. */
  #isLost = false;
  #isClosed = false;
  #droppedBytes = 0;
  /** Lines that wait for others, so that a short mini-batch does not cost a write of its own. */
  #lines: string[] = [];
  #linesChars = 0;
  #linesTimer: NodeJS.Timeout | null = null;
  bytes = 0;

  constructor(options: { readonly path: string; readonly bytesMax: number; readonly log: Log }) {
    this.#options = options;
  }

  append(chunk: Uint8Array): void {
    if (this.#isLost || this.#isClosed) return;
    const stream = (this.#stream ??= this.#open());
    if (!stream) return;
    // A disk that is slower than a script’s prints must not fill the memory of the node. What is cut stays cut, so that
    // the log has one end and no holes.
    const isBehind = stream.writableLength > limits.spoolMemoryBytesMax;
    const room = this.#droppedBytes > 0 || isBehind ? 0 : this.#options.bytesMax - this.bytes;
    const kept = chunk.length <= room ? chunk : chunk.subarray(0, Math.max(0, room));
    this.#droppedBytes += chunk.length - kept.length;
    if (kept.length === 0) return;
    this.bytes += kept.length;
    stream.write(kept);
  }

  /** Written with those that come soon after it. */
  appendLine(text: string): void {
    this.#lines.push(text);
    this.#linesChars += text.length;
    if (this.#linesChars >= limits.logLinesCharsMax) this.#writeLines();
    else this.#linesTimer ??= setTimeout(() => this.#writeLines(), limits.logLinesMs);
  }

  #writeLines(): void {
    if (this.#linesTimer) clearTimeout(this.#linesTimer);
    this.#linesTimer = null;
    if (this.#lines.length === 0) return;
    const text = this.#lines.join('');
    this.#lines = [];
    this.#linesChars = 0;
    this.append(Buffer.from(text));
  }

  close(): Promise<void> {
    this.#writeLines();
    const stream = this.#stream;
    this.#isClosed = true;
    if (!stream || stream.closed) return Promise.resolve();
    if (this.#droppedBytes > 0 && !this.#isLost) {
      stream.write(
        `\n[batchmill: the log is cut here; ${this.bytes} bytes are kept, ${this.#droppedBytes} more were dropped]\n`,
      );
    }
    return new Promise((resolve) => {
      stream.once('close', resolve);
      stream.end();
    });
  }

  #open(): WriteStream | null {
    const { path } = this.#options;
    try {
      mkdirSync(dirname(path), { recursive: true });
    } catch (error) {
      this.#giveUp(error);
      return null;
    }
    const stream = createWriteStream(path, { flags: 'a' });
    stream.on('error', (error) => this.#giveUp(error));
    return stream;
  }

  /** Scoring goes on without its log. */
  #giveUp(error: unknown): void {
    if (this.#isLost) return;
    this.#isLost = true;
    const { path, log } = this.#options;
    log.warn('the log of a scoring host cannot be written', { path, reason: reasonOf(error) });
  }
}
