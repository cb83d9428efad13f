/** One contender's runs: from nothing, or as jobs of what stays up. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { invariant } from '../../common/core/invariant.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import { program } from '../workloads/contenders.ts';
import type { Contender } from '../workloads/workload.ts';
import { roleLabels, startCluster } from './cluster.ts';
import { Meter, type Command, type Cost } from './meter.ts';

export type Temperature = 'cold' | 'warm';

/** Roles of Batchmill's processes, by their command lines. */
const labels = {
  ...roleLabels,
  command: '(main.js|client.mjs) (job|run) ',
};

/** Bundled with the bench. */
const clientFile = compiledFile('bundles', 'bench', 'harness', 'client.mjs');

const isInsecure = process.env['BENCH_INSECURE'] === '1';

/** What stays up, and how it is given a job. */
interface Up {
  readonly meter: Meter;
  readonly go: (output: string, first: string) => Promise<Cost>;
}

/** What a contender has running between its warm runs. */
export class Runner {
  readonly contender: Contender;
  readonly #dir: string;
  readonly #processes: number;
  #warm: Up | null = null;

  constructor(contender: Contender, dir: string, processes: number) {
    this.contender = contender;
    this.#dir = join(dir, contender.name.replaceAll(' ', '-'));
    this.#processes = processes;
    mkdirSync(this.#dir, { recursive: true });
  }

  /** Scores into a new folder `output`; null when there is no such way. */
  async run(temperature: Temperature, output: string): Promise<Cost | null> {
    const first = join(output, 'predictions.csv.partial');
    if (temperature === 'warm') {
      if (this.contender.warm === null) return null;
      this.#warm ??= await this.#open();
      return await this.#warm.go(output, first);
    }
    if (this.contender.cold === null) return null;
    const meter = this.#meter();
    try {
      return await meter.run(this.contender.cold(output), first);
    } finally {
      await meter.close();
    }
  }

  /** Ends what stayed up. */
  async close(): Promise<void> {
    await this.#warm?.meter.close();
    this.#warm = null;
    rmSync(join(this.#dir, 'state'), { recursive: true, force: true });
    rmSync(join(this.#dir, 'scratch'), { recursive: true, force: true });
  }

  #meter(): Meter {
    return new Meter({ log: join(this.#dir, 'log.txt'), cwd: this.#dir, labels });
  }

  async #open(): Promise<Up> {
    const { warm } = this.contender;
    invariant(warm !== null, `${this.contender.name} has nothing that stays up`);
    const meter = this.#meter();
    try {
      if (warm.kind === 'serves') {
        await meter.serve(warm.command);
        return { meter, go: (output) => meter.line(output) };
      }
      const env = await startCluster(meter, { dir: this.#dir, slots: this.#processes, isInsecure, program });
      if (warm.client === 'stays') {
        await meter.serve({ argv: [process.execPath, clientFile, ...warm.submit], env });
        return { meter, go: (output, first) => meter.line(output, first) };
      }
      const submit = (output: string): Command => program([...warm.submit, '--output', output, '--wait']);
      return { meter, go: (output, first) => meter.run({ ...submit(output), env }, first) };
    } catch (error) {
      await meter.close();
      throw error;
    }
  }
}
