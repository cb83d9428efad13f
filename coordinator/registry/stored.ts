/** Files of a deployment and of data in the artifact store. */
import { join } from 'node:path';
import type { Artifact, ArtifactSource, Deployment, LocalDeployment } from '../../common/core/deployment.ts';
import type { ArtifactStore } from './artifact-store.ts';

/** Path of uploaded data: a folder with its files, or the file in a folder of its own. */
export async function laidOut(
  artifact: Pick<Artifact, 'kind' | 'name' | 'digest'>,
  { artifacts, stateDir }: { readonly artifacts: ArtifactStore; readonly stateDir: string },
): Promise<string> {
  const hex = artifact.digest.slice('sha256:'.length);
  const dir = join(stateDir, 'data', artifact.kind, hex);
  if (artifact.kind === 'folder') {
    await artifacts.layOut(artifact, dir);
    return dir;
  }
  // The same bytes may come under several names.
  const named = join(dir, Buffer.from(artifact.name).toString('hex').slice(0, 200));
  await artifacts.layOut(artifact, named);
  return join(named, artifact.name);
}

/** Model and code by digest. */
export async function sealed(artifacts: ArtifactStore, local: LocalDeployment): Promise<Deployment> {
  const { model, code } = local;
  return { ...local, model: model && (await artifacts.keep(model)), code: code && (await artifacts.keep(code)) };
}

/** What is lost of a shadow refuses no job: the worker node finds it missing, and says so. */
export async function sealedShadow(artifacts: ArtifactStore, local: LocalDeployment): Promise<Deployment> {
  const kept = async (source: ArtifactSource | null): Promise<Artifact | null> =>
    source && ('path' in source ? await artifacts.keep(source) : source);
  return { ...local, model: await kept(local.model), code: await kept(local.code) };
}
