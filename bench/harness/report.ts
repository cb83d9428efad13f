/** What was measured, as one table and as lines for other programs. */
import type { Workload } from '../workloads/workload.ts';
import type { Cost } from './meter.ts';
import type { Temperature } from './runner.ts';
import { intervalOf, median, type Interval } from './statistics.ts';

/** All rounds of one contender at one temperature. */
export interface Series {
  readonly contender: string;
  readonly temperature: Temperature;
  readonly costs: readonly Cost[];
}

export interface Line {
  readonly workload: string;
  readonly title: string;
  readonly temperature: Temperature;
  readonly contender: string;
  readonly rounds: number;
  readonly wallSeconds: number;
  readonly wallSecondsMin: number;
  readonly wallSecondsMax: number;
  readonly perSecond: number;
  readonly unit: string;
  /** This contender's wall seconds over Batchmill's. */
  readonly timesBatchmill: number | null;
  readonly cpuSeconds: number;
  readonly peakMib: number;
  /** Throughput over the ceiling's, and the ceiling's processor seconds over these. */
  readonly ceilingPercent: number | null;
  readonly ceilingCpuPercent: number | null;
  /** Processor seconds beyond the ceiling's in percent of them, round by round in pairs. */
  readonly overheadPercent: Interval | null;
  readonly firstSeconds: number | null;
  readonly cpuByRole: Readonly<Record<string, number>>;
}

export function linesOf(workload: Workload, series: readonly Series[]): Line[] {
  return series.map((one) => {
    const peers = series.filter(({ temperature }) => temperature === one.temperature);
    return lineOf(workload, one, peers);
  });
}

function lineOf(workload: Workload, { contender, temperature, costs }: Series, peers: readonly Series[]): Line {
  const walls = costs.map((cost) => cost.wallSeconds);
  const wall = median(walls);
  const cpu = median(costs.map((cost) => cost.cpuSeconds));
  const ours = peers.find((peer) => peer.contender === 'batchmill');
  const ceiling = peers.find((peer) => peer.contender === 'ceiling');
  const firsts = costs.flatMap(({ firstSeconds }) => firstSeconds ?? []);
  const ofCeiling = (pick: (cost: Cost) => number, own: number): number | null =>
    ceiling === undefined ? null : (100 * median(ceiling.costs.map(pick))) / own;
  const pairs = costs.flatMap((cost, round) => {
    const bare = ceiling?.costs[round]?.cpuSeconds;
    return bare === undefined ? [] : [100 * (cost.cpuSeconds / bare - 1)];
  });
  const roles = new Set(costs.flatMap(({ cpuByRole }) => Object.keys(cpuByRole)));
  return {
    workload: workload.name,
    title: workload.title,
    temperature,
    contender,
    rounds: costs.length,
    wallSeconds: wall,
    wallSecondsMin: Math.min(...walls),
    wallSecondsMax: Math.max(...walls),
    perSecond: workload.count / wall,
    unit: workload.unit,
    timesBatchmill: ours === undefined ? null : wall / median(ours.costs.map((cost) => cost.wallSeconds)),
    cpuSeconds: cpu,
    peakMib: Math.max(...costs.map(({ peakBytes }) => peakBytes)) / 1_048_576,
    ceilingPercent: ofCeiling((cost) => cost.wallSeconds, wall),
    ceilingCpuPercent: ofCeiling((cost) => cost.cpuSeconds, cpu),
    overheadPercent: contender === 'ceiling' ? null : intervalOf(pairs),
    firstSeconds: firsts.length === 0 ? null : median(firsts),
    cpuByRole: Object.fromEntries(
      [...roles].map((role) => [role, median(costs.map(({ cpuByRole }) => cpuByRole[role] ?? 0))]),
    ),
  };
}

const titles = [
  'workload',
  'start',
  'who',
  'wall s',
  'min–max',
  'per second',
  '× batchmill',
  'CPU s',
  'peak MiB',
  '% of ceiling',
  '% by CPU',
  'first s',
];

/** The lines as text, columns under one another; also a table of Markdown. */
export function tableOf(lines: readonly Line[]): string {
  const rows = lines.map((line) => [
    line.workload,
    line.temperature,
    line.contender,
    seconds(line.wallSeconds),
    `${seconds(line.wallSecondsMin)}–${seconds(line.wallSecondsMax)}`,
    `${Math.round(line.perSecond).toLocaleString('en')} ${line.unit}`,
    line.timesBatchmill === null ? '–' : line.timesBatchmill.toFixed(2),
    seconds(line.cpuSeconds),
    line.peakMib.toFixed(0),
    percent(line.ceilingPercent),
    percent(line.ceilingCpuPercent),
    line.firstSeconds === null ? '–' : seconds(line.firstSeconds),
  ]);
  const widths = titles.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const text = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column < 3 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `| ${widths.map((width, column) => (column < 3 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [text(titles), rule, ...rows.map(text)].join('\n');
}

const seconds = (value: number): string => value.toFixed(value < 10 ? 2 : 1);
const percent = (value: number | null): string => (value === null ? '–' : value.toFixed(0));
