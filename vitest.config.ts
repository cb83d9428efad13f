import { defineConfig } from 'vitest/config';

/** They measure time, memory or messages, or build the program, so that nothing may run beside them. */
const alone = [
  'test/integration/cluster.test.ts',
  'test/integration/host-memory.test.ts',
  'test/integration/slow-disk.test.ts',
  'test/e2e/bench.test.ts',
  'test/e2e/heartbeat.test.ts',
  'test/e2e/poison.test.ts',
  'test/e2e/start.test.ts',
];

/** A process of vitest goes from file to file, which saves a third of the time of short ones. No test may leave anything of a module changed. */
const oneProcess = { isolate: false, restoreMocks: true };

/** Two are too few for two processors: for the most part they wait, for a deadline, for a process, for Python to start. */
const threeAtOnce = { ...oneProcess, maxWorkers: 3, sequence: { groupOrder: 1 } };

/** `fast` needs nothing but the sources; the others start processes, sockets and Python, on free ports and in folders of their own. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          include: ['test/tidy.test.ts', 'test/unit/**/*.test.ts'],
          // A busy machine is no failure.
          testTimeout: 30_000,
          ...oneProcess,
          maxWorkers: 2,
        },
      },
      {
        // Computes in virtual time, in all processors.
        test: {
          name: 'sim',
          include: ['test/sim/**/*.test.ts'],
          testTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          exclude: alone,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...threeAtOnce,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: alone,
          testTimeout: 240_000,
          hookTimeout: 120_000,
          ...threeAtOnce,
        },
      },
      {
        // After all others.
        test: {
          name: 'alone',
          include: alone,
          testTimeout: 240_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        // A Slurm of its own, which `npm run test:slurm` starts where Debian has installed it; its time limits are minutes.
        test: {
          name: 'slurm',
          include: ['test/slurm/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        // Real models in the frameworks that they were made with, which `npm run test:frameworks` installs.
        test: {
          name: 'frameworks',
          include: ['test/frameworks/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
