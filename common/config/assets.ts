/** Where registered models and environments are looked up while a deployment is resolved: a registry, or its client. */
import type { Artifact, EnvironmentSpec } from '../core/deployment.ts';
import { BatchError } from '../core/batch-error.ts';
import type { ConfigProblem, KeyPath } from './config-source.ts';
import type { Reference } from './reference.ts';

/** A registered model, with what a deployment needs to know of its files. */
export interface KnownModel {
  readonly name: string;
  readonly version: string;
  readonly type: 'custom_model' | 'mlflow_model' | 'triton_model';
  readonly artifact: Artifact;
  /** What can score it without a script; null: nothing. */
  readonly flavor: 'onnx' | 'mlflow' | null;
  /** What an MLflow model brings along; null: nothing. */
  readonly environment: EnvironmentSpec | null;
}

/** A null version asks for the latest. */
export interface AssetLookup {
  /** @throws RESOURCE_NOT_FOUND */
  model(name: string, version: string | null): Promise<KnownModel>;
  /** @throws RESOURCE_NOT_FOUND */
  environment(name: string, version: string | null): Promise<EnvironmentSpec>;
}

type AssetReference = Extract<Reference, { kind: 'asset' }>;

/** Null for what is no asset of our own registry. */
export function ownAsset(reference: Reference, assets: AssetLookup | null): AssetReference | null {
  const isOwn = reference.kind === 'asset' && assets !== null;
  return isOwn && (reference.label === null || reference.label.toLowerCase() === 'latest') ? reference : null;
}

/** What `look` finds; null after adding to `problems` that there is no such asset. */
export async function lookedUp<T>(
  look: (name: string, version: string | null) => Promise<T>,
  { name, version }: AssetReference,
  key: KeyPath,
  problems: ConfigProblem[],
): Promise<T | null> {
  try {
    return await look(name, version);
  } catch (error) {
    if (!(error instanceof BatchError) || error.code !== 'RESOURCE_NOT_FOUND') throw error;
    problems.push({ code: 'CONFIG_INVALID', path: key, at: 'value', message: `${key.join('.')}: ${error.message}` });
    return null;
  }
}
