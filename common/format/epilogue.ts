/** What stands behind the last row of a complete output. */
import type { DeploymentSettings } from '../core/deployment.ts';
import { defaultOutputForm } from '../core/output-form.ts';

/**
 * Bytes behind the rows, always the same for the same job. `hasRows` false: nothing stands before them either, and a format
 * that needs a head even so has it here.
 */
export async function epilogueOf(
  { outputFormat, outputForm = defaultOutputForm }: Pick<DeploymentSettings, 'outputFormat' | 'outputForm'>,
  hasRows: boolean,
): Promise<Uint8Array> {
  if (outputFormat !== 'arrow') return new Uint8Array(0);
  const { emptyStream, endOfStream } = await import('./arrow-stream.ts');
  return hasRows ? endOfStream : await emptyStream(outputForm);
}
