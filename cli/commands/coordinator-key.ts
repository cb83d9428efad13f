/** `coordinator key`: the public half of the key that signs manifests, for those who verify them elsewhere. */
import { stateDirSetting, type CoordinatorFlags } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { readSigningKey, signingKeyPath } from '../../coordinator/signing-key.ts';
import type { CommandContext } from '../command-context.ts';
import type { Column } from '../table.ts';

interface KeyView {
  readonly key_id: string;
  readonly public_key: string;
}

const keyColumns: readonly Column<KeyView>[] = [
  { title: 'key_id', value: (key) => key.key_id },
  { title: 'public_key', value: (key) => key.public_key },
];

export async function coordinatorKeyCommand(
  { host, output }: CommandContext,
  flags: Pick<CoordinatorFlags, 'stateDir'>,
): Promise<number> {
  const stateDir = stateDirSetting(flags.stateDir, host.environment);
  const key = await readSigningKey(stateDir);
  if (key === null) {
    throw new BatchError(
      'ARTIFACT_NOT_FOUND',
      `${signingKeyPath(stateDir)} is not there: a coordinator makes it at its first start; say where with --state-dir`,
    );
  }
  output.page({ key_id: key.signedBy.key_id, public_key: key.publicPem }, keyColumns, key.publicPem);
  return 0;
}
