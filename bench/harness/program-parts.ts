/** Parts of the program, by the beginnings of the paths of their files. */
export const programParts = {
  journal: ['coordinator/journal/'],
  output: [
    'coordinator/output/',
    'coordinator/output-files.ts',
    'coordinator/result-store.ts',
    'coordinator/seal-job.ts',
  ],
  listing: ['coordinator/input/', 'coordinator/list-job.ts'],
} as const satisfies Readonly<Record<string, readonly string[]>>;
