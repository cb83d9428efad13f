/**
 * Names of a job's output file while it grows. A job that is reopened with rows missing before others writes a new
 * generation of its output beside the one before, from which it takes what was committed.
 */
import { rowsFileName } from '../../common/core/parts-form.ts';
import type { Job } from './ledger.ts';

/** Until the job is completed. Generations count from 1. */
export function partialOutputName(outputFileName: string, generation: number): string {
  return generation === 1 ? `${outputFileName}.partial` : `${outputFileName}.generation-${generation}.partial`;
}

type Generations = Pick<Job, 'generation' | 'sealedGeneration' | 'deployment'>;

/** Where the rows of the job's present generation lie. */
export function outputNameOf({ generation, sealedGeneration, deployment }: Generations): string {
  const name = rowsFileName(deployment.settings) ?? '';
  return sealedGeneration === generation ? name : partialOutputName(name, generation);
}
