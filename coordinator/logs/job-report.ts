/** The tables of a job's report, from the records of its mini-batches. @source Azure ML batch log tree: sys/job_report */
import type { BatchRecord } from '../../common/core/batch-record.ts';
import { errorRules } from '../../common/core/error-codes.ts';

const batchColumns = [
  'id',
  'picked count',
  'process',
  'start UTC',
  'total',
  'succeeded',
  'failed',
  'elapsed seconds',
  'cpu seconds',
  'run() seconds',
  'status',
  'error category',
  'error message',
  'detail',
] as const;
const sumColumns = ['mini batches', 'total', 'succeeded', 'failed', 'run() seconds', 'cpu seconds'] as const;

interface Sum {
  batches: number;
  total: number;
  failed: number;
  seconds: number;
  cpuSeconds: number;
}

/** Sums of what was added, in the order in which they were met. */
export class ReportSums {
  readonly #sums = new Map<string, { readonly names: readonly string[]; readonly sum: Sum }>();

  /** All of them are of `names`. */
  add(names: readonly string[], records: readonly BatchRecord[]): void {
    const key = names.join('/');
    const { sum } = this.#sums.get(key) ?? { sum: { batches: 0, total: 0, failed: 0, seconds: 0, cpuSeconds: 0 } };
    this.#sums.set(key, { names, sum });
    for (const record of records) {
      sum.batches += 1;
      sum.total += record.count;
      sum.failed += record.failed;
      sum.seconds += record.run_seconds;
      sum.cpuSeconds += record.cpu_seconds ?? 0;
    }
  }

  table(titles: readonly string[]): string {
    const lines = [...this.#sums.values()].map(({ names, sum }) =>
      csvLine([
        ...names,
        sum.batches,
        sum.total,
        sum.total - sum.failed,
        sum.failed,
        sum.seconds.toFixed(3),
        sum.cpuSeconds.toFixed(2),
      ]),
    );
    return csvLine([...titles, ...sumColumns]) + lines.join('');
  }
}

export const batchTitles: string = csvLine(batchColumns);

/** `process`: a cell. */
export function batchLine(record: BatchRecord, process: string): string {
  const { first, count, attempt, start, failed, run_seconds: seconds, status, code, message } = record;
  const what = `${first},${attempt},${process},${csvCell(start)}`;
  const numbers = `${count},${count - failed},${failed},${seconds},${record.cpu_seconds ?? ''},${seconds}`;
  const category = code === null ? '' : errorRules[code].category;
  return `${what},${numbers},${status},${category},${csvCell(message ?? '')},${code ?? ''}\n`;
}

function csvLine(cells: readonly (string | number)[]): string {
  return `${cells.map((cell) => csvCell(String(cell))).join(',')}\n`;
}

export function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
