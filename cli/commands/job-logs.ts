/** `job logs`: what scoring hosts printed, whole, of one file of the input, or as it comes. */
import { TextDecoder } from 'node:util';
import { processName } from '../../common/core/batch-record.ts';
import { asCount } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { FileQuery } from '../../coordinator/api/backend.ts';
import type { Client } from '../client.ts';
import { createPatience } from '../follow.ts';
import { exitInterrupted, interruptible, type CommandContext } from '../command-context.ts';
import { fileColumns, type OutputFile } from '../job-text.ts';

export const logStreams = ['stdout', 'stderr', 'error'] as const;
type LogStream = (typeof logStreams)[number];

export interface LogsFlags {
  readonly node?: string;
  readonly process?: string;
  readonly stream?: LogStream;
  readonly file?: string;
  readonly miniBatch?: string;
  readonly follow?: boolean;
  readonly list?: boolean;
}

export async function logsCommand(context: CommandContext, given: string, flags: LogsFlags): Promise<number> {
  const client = await context.client();
  // `last` may mean another job by the time of the second question.
  const { name } = await client.show(given);
  if (flags.list) {
    context.output.list(await client.logFiles(name), fileColumns);
    return 0;
  }
  if (flags.file !== undefined) return await tellPrinted(context, name, { file: flags.file }, flags);
  if (flags.miniBatch !== undefined) {
    return await tellPrinted(context, name, { first: ordinal(flags.miniBatch) }, flags);
  }
  if (flags.follow) return await followLogs(context, name, flags);
  const files = (await client.logFiles(name)).filter((file) => isWanted(file.path, flags));
  if (files.length === 0)
    context.output.note(`${name} has no such log; \`batchmill job logs ${name} --list\` shows all`);
  const printer = new Printer(context, client, name);
  for (const file of files) await printer.print(file.path, 0, file.size_bytes);
  printer.end();
  return 0;
}

/** What was printed while the mini-batch of one file was scored, attempt by attempt. */
async function tellPrinted(
  context: CommandContext,
  name: string,
  query: FileQuery,
  { node, process, stream }: LogsFlags,
): Promise<number> {
  const client = await context.client();
  const all = await client.printed(name, query);
  const records = all.filter((one) => (node ?? one.node) === one.node && isProcess(one.process, process));
  if (records.length === 0) context.output.note('no attempt of its mini-batch has been told yet');
  for (const one of records) {
    const files = one.count === 1 ? `file ${one.first}` : `files ${one.first} to ${one.first + one.count - 1}`;
    const why = one.code === null ? '' : `, ${one.code}: ${one.message ?? ''}`;
    context.output.note(
      `${one.start}  ${one.status}  ${files}, try ${one.attempt} on ${one.node} ${one.process}, ${one.run_seconds} s${why}`,
    );
    const printer = new Printer(context, client, name);
    for (const kind of ['stdout', 'stderr'] as const) {
      const [from, to] = one[kind];
      if ((stream ?? kind) !== kind || to <= from) continue;
      await printer.print(`user/${kind}/${one.node}/${one.process}.${kind}.txt`, from, to);
    }
    printer.end();
  }
  return 0;
}

/** What is there, then what comes, until the job has ended and nothing more does. A coordinator that goes away is waited for. */
async function followLogs(context: CommandContext, name: string, flags: LogsFlags): Promise<number> {
  const { host, output } = context;
  const { signal, dispose } = interruptible(host, () => undefined);
  const client = await context.client(signal);
  const patience = createPatience({
    delay: host.delay,
    signal,
    onBreak: (error) => output.note(`connection lost, trying again: ${error.message}`),
  });
  const printer = new Printer(context, client, name);
  // The last bytes come after the job has ended.
  let looksLeft = looksAfterEnd;
  try {
    while (!signal.aborted && looksLeft > 0) {
      try {
        const isOver = isFinal((await client.show(name)).status);
        const isNews = await printNews(client, name, flags, printer);
        patience.renew();
        if (isOver) looksLeft = isNews ? looksAfterEnd : looksLeft - 1;
        if (looksLeft > 0) await host.delay(limits.logShipMs, signal);
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof BatchError) || error.code !== 'COORDINATOR_UNREACHABLE') throw error;
        await patience.wait(error);
      }
    }
    return signal.aborted ? exitInterrupted : 0;
  } finally {
    printer.end();
    dispose();
  }
}

const looksAfterEnd = 3;

/** Whether there was anything. */
async function printNews(client: Client, name: string, flags: LogsFlags, printer: Printer): Promise<boolean> {
  let isNews = false;
  for (const { path, size_bytes: size } of await client.logFiles(name)) {
    const from = printer.printed(path);
    if (!isWanted(path, flags) || size <= from) continue;
    isNews = true;
    await printer.print(path, from, size);
  }
  return isNews;
}

/** Says whose words follow whenever that changes; what comes in pieces stays whole in its characters and lines. */
class Printer {
  readonly #context: CommandContext;
  readonly #client: Client;
  readonly #job: string;
  readonly #files = new Map<string, { readonly decoder: TextDecoder; end: number }>();
  #path = '';
  #isLineOpen = false;

  constructor(context: CommandContext, client: Client, job: string) {
    this.#context = context;
    this.#client = client;
    this.#job = job;
  }

  /** Bytes of the file up to the end of what was printed last. */
  printed(path: string): number {
    return this.#files.get(path)?.end ?? 0;
  }

  async print(path: string, from: number, to: number): Promise<void> {
    if (path !== this.#path) {
      // Where one stops within a line, the words of another must not be taken for its own.
      if (this.#isLineOpen) this.#text('\n');
      this.#context.output.note(`==> ${path} <==`);
    }
    this.#path = path;
    const file = this.#files.get(path) ?? { decoder: new TextDecoder(), end: from };
    this.#files.set(path, file);
    for await (const chunk of this.#client.logFile(this.#job, path, from, to - from)) {
      // At once, so that a connection that breaks does not make anything come twice.
      file.end += chunk.length;
      this.#text(file.decoder.decode(chunk, { stream: true }));
    }
  }

  /** Nothing more comes: what is left of a character that was cut. */
  end(): void {
    for (const { decoder } of this.#files.values()) this.#text(decoder.decode());
  }

  #text(text: string): void {
    if (text === '') return;
    this.#isLineOpen = !text.endsWith('\n');
    this.#context.output.text(text);
  }
}

function isWanted(path: OutputFile['path'], { node, process, stream }: LogsFlags): boolean {
  const [, kind = '', ofNode = '', name = ''] = /^user\/(stdout|stderr|error)\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  if (kind === '' || (stream ?? kind) !== kind || (node ?? ofNode) !== ofNode) return false;
  return isProcess(name.split('.')[0] ?? '', process);
}

/** `--process 3`, `003` and `process003` are one. */
function isProcess(name: string, wanted: string | undefined): boolean {
  if (wanted === undefined || wanted === name) return true;
  const digits = wanted.replace(/^process/, '');
  if (/^\d{1,6}$/.test(digits)) return name === processName(Number(digits));
  throw new BatchError('USAGE', `--process: wanted the number of a process, found ${JSON.stringify(wanted)}`);
}

function ordinal(text: string): number {
  return text.trim() === '0' ? 0 : asCount(text, '--mini-batch');
}
