/**
 * `job tail`: rows of a job that are final, read through the HTTP API up to the offset that the job publishes. What lies behind it
 * in the file may still change; nothing before it ever does, also across restarts of the coordinator.
 */
import { basename } from 'node:path';
import { asCount } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import type { Client } from '../client.ts';
import { exitInterrupted, interruptible, type CommandContext } from '../command-context.ts';
import { createPatience } from '../follow.ts';

export interface TailFlags {
  readonly lines: string;
  readonly follow?: boolean;
}

/** How much is looked through at once for the beginning of the last lines. */
const lookBytes = 65_536;

export async function tailCommand(context: CommandContext, given: string, flags: TailFlags): Promise<number> {
  const wanted = flags.lines === 'all' ? Number.POSITIVE_INFINITY : lineCount(flags.lines);
  const { host, output } = context;
  const interrupt = interruptible(host, () => undefined);
  const client = await context.client(interrupt.signal);
  const patience = createPatience({
    ...{ delay: host.delay, signal: interrupt.signal },
    onBreak: (error) => output.note(`connection lost, trying again: ${error.message}`),
  });
  const tail = new Tail(context, client, wanted);
  let name = given;
  try {
    while (!interrupt.signal.aborted) {
      try {
        const job = await client.show(name);
        // `last` may mean another job by the time of the next question.
        ({ name } = job);
        await tail.print(job, interrupt.signal);
        patience.renew();
        if (!flags.follow || isFinal(job.status)) return 0;
        await host.delay(limits.progressMs, interrupt.signal);
      } catch (error) {
        if (interrupt.signal.aborted) break;
        const isBroken = error instanceof BatchError && error.code === 'COORDINATOR_UNREACHABLE';
        if (!isBroken || !flags.follow) throw error;
        await patience.wait(error);
      }
    }
    return exitInterrupted;
  } finally {
    interrupt.dispose();
  }
}

function lineCount(text: string): number {
  return text.trim() === '0' ? 0 : asCount(text, '--lines');
}

class Tail {
  readonly #context: CommandContext;
  readonly #client: Client;
  readonly #lines: number;
  /** Printed so far; null before the first look. */
  #offset: number | null = null;
  #decoder = new TextDecoder();

  constructor(context: CommandContext, client: Client, lines: number) {
    this.#context = context;
    this.#client = client;
    this.#lines = lines;
  }

  /** What has become final since the last call. */
  async print({ name, output_file: file, output_bytes: end }: JobView, signal: AbortSignal): Promise<void> {
    if (file === null) {
      throw new BatchError('REQUEST_INVALID', `job ${name} writes no file of rows (output_action: summary_only)`);
    }
    const path = basename(file);
    if (/\.arrows(\.|$)/.test(path)) {
      throw new BatchError(
        'REQUEST_INVALID',
        `${path} is an Arrow stream and no text: read it with pyarrow, or \`job download\` it`,
      );
    }
    this.#offset ??= await this.#start(name, path, end);
    // One piece at a time is asked for, so that a connection that breaks loses none and doubles none.
    while (this.#offset < end && !signal.aborted) {
      const length = Math.min(limits.copyBytesMax, end - this.#offset);
      for await (const chunk of this.#client.outputPart(name, path, this.#offset, length)) {
        this.#offset += chunk.length;
        this.#context.output.text(this.#decoder.decode(chunk, { stream: true }));
      }
    }
  }

  /** Where the last lines begin; looked for from the end backwards. */
  async #start(name: string, path: string, end: number): Promise<number> {
    if (!Number.isFinite(this.#lines)) return 0;
    let found = 0;
    for (let to = end; to > 0; to -= lookBytes) {
      const from = Math.max(0, to - lookBytes);
      const bytes = await this.#read(name, path, from, to - from);
      for (let at = bytes.length - 1; at >= 0; at -= 1) {
        // The newline that ends the last line begins none.
        if (bytes[at] !== 10 || from + at === end - 1) continue;
        found += 1;
        if (found === this.#lines) return from + at + 1;
      }
    }
    return this.#lines === 0 ? end : 0;
  }

  async #read(name: string, path: string, from: number, length: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    for await (const chunk of this.#client.outputPart(name, path, from, length)) pieces.push(chunk);
    return Buffer.concat(pieces);
  }
}
