/** What `require('batchmill')` or an import outside of a scoring host gets: the package has types for scripts and nothing else. */

/** The words for whoever imports more. */
export const typesOnlyMessage =
  "the package batchmill has types only: write `import type { Scorer } from 'batchmill'`; run() gets all it needs as arguments";
