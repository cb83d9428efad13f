/** Warm jobs of a workload, with processes that V8 looks into. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { invariant } from '../../common/core/invariant.ts';
import { compiledFile } from '../../common/io/package-files.ts';
import type { Workload } from '../workloads/workload.ts';
import { roleLabels, startCluster, type Role } from './cluster.ts';
import { Meter, type Command, type Cost } from './meter.ts';
import { filesOfLines, mainThreadFile, now, type Profile, type Span } from './profile.ts';

/** The whole program in one file in which every module is named; `scripts/bench.mjs` makes it. */
const bundle = compiledFile('bundles', 'cli', 'main.mjs');
/** Microseconds between two looks. */
const lookEvery = 250;

export interface ProfiledJobs {
  /** Those that count. */
  readonly jobs: readonly (Span & { readonly cost: Cost })[];
  /** Of the main thread of each process that was looked into. */
  readonly profiles: ReadonlyMap<Role, Profile>;
  /** For each line of the program, from 0, the file that it is of. */
  readonly files: readonly string[];
}

export interface ProfiledJobsOptions {
  readonly dir: string;
  readonly slots: number;
  readonly roles: readonly Role[];
  /** Jobs that count. */
  readonly rounds: number;
  /** Jobs before them, that what stays up has had. */
  readonly uncounted: number;
}

export async function profiledJobs(workload: Workload, options: ProfiledJobsOptions): Promise<ProfiledJobs> {
  const { dir, slots, roles, rounds, uncounted } = options;
  const warm = workload.contenders[0]?.warm;
  invariant(warm?.kind === 'cluster', `${workload.name} has no cluster`);
  const profilesOf = (role: Role): string => join(dir, 'profiles', role);
  for (const role of roles) mkdirSync(profilesOf(role), { recursive: true });
  const program = (args: readonly string[], role?: Role): Command => {
    const isLookedInto = role !== undefined && roles.includes(role);
    const look = ['--cpu-prof', '--cpu-prof-interval', String(lookEvery), '--cpu-prof-dir'];
    return { argv: [process.execPath, ...(isLookedInto ? [...look, profilesOf(role)] : []), bundle, ...args] };
  };
  const jobs: (Span & { cost: Cost })[] = [];
  const meter = new Meter({ log: join(dir, 'log.txt'), cwd: dir, labels: roleLabels });
  try {
    const env = await startCluster(meter, { dir, slots, isInsecure: false, program });
    for (let round = -uncounted; round < rounds; round += 1) {
      const submit = program([...warm.submit, '--output', join(dir, `output-${round}`), '--wait']);
      const from = now();
      const cost = await meter.run({ ...submit, env });
      if (round >= 0) jobs.push({ cost, from, to: now() });
    }
  } finally {
    await meter.close();
  }
  const profiles = new Map(roles.map((role) => [role, mainThreadProfile(profilesOf(role))]));
  return { jobs, profiles, files: filesOfLines(readFileSync(bundle, 'utf8')) };
}

function mainThreadProfile(dir: string): Profile {
  const file = mainThreadFile(readdirSync(dir));
  invariant(file !== undefined, `a process that ended in order has left a profile in ${dir}`);
  return JSON.parse(readFileSync(join(dir, file), 'utf8')) as Profile;
}
