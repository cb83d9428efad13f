/**
 * Names of a job's output file while it grows. A job that is reopened with rows missing before others writes a new
 * generation of its output beside the one before, from which it takes what was committed.
 */

/** Until the job is completed. Generations count from 1. */
export function partialOutputName(outputFileName: string, generation: number): string {
  return generation === 1 ? `${outputFileName}.partial` : `${outputFileName}.generation-${generation}.partial`;
}

interface Generations {
  readonly generation: number;
  readonly sealedGeneration: number;
  readonly deployment: { readonly settings: { readonly outputFileName: string } };
}

/** Where the rows of the job's present generation lie. */
export function outputNameOf({ generation, sealedGeneration, deployment }: Generations): string {
  const { outputFileName } = deployment.settings;
  return sealedGeneration === generation ? outputFileName : partialOutputName(outputFileName, generation);
}
