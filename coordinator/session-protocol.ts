/** Whether a worker node and this coordinator understand each other, before anything is given to it. */
import { BatchError } from '../common/core/batch-error.ts';
import type { JoinRequest } from '../common/core/cluster-messages.ts';
import { agreedProtocol, protocolText, spokenHere } from '../common/core/protocol.ts';

type Speaker = Pick<JoinRequest, 'name' | 'release' | 'protocol' | 'protocolNewest'>;

/** The newest protocol that both speak. @throws PROTOCOL_MISMATCH */
export function sessionProtocol({ name, release, protocol, protocolNewest = 0 }: Speaker, ownRelease: string): number {
  const theirs = { oldest: protocol, newest: Math.max(protocol, protocolNewest) };
  const agreed = agreedProtocol(theirs, spokenHere);
  if (agreed !== null) return agreed;
  const behind = theirs.newest < spokenHere.oldest ? 'the worker node' : 'the coordinator';
  throw new BatchError(
    'PROTOCOL_MISMATCH',
    `worker node ${name} (release ${release}) speaks protocol ${protocolText(theirs)}, this coordinator ` +
      `(release ${ownRelease}) ${protocolText(spokenHere)}; upgrade ${behind}`,
  );
}
