/** Registered models and environments, as a deployment that is read here looks them up there. */
import * as z from 'zod';
import type { AssetLookup, KnownModel } from '../../common/config/assets.ts';
import type { EnvironmentSpec } from '../../common/core/deployment.ts';
import { environmentSchema, sealedArtifact } from '../../coordinator/api/job-request.ts';
import { strangerError } from '../connection.ts';
import { segment, type Transport } from './transport.ts';

const modelReply: z.ZodType<KnownModel> = z.object({
  name: z.string(),
  version: z.string(),
  type: z.enum(['custom_model', 'mlflow_model', 'triton_model']),
  artifact: sealedArtifact,
  flavor: z.enum(['onnx', 'mlflow']).nullable(),
  environment: environmentSchema.nullable(),
});

const environmentReply: z.ZodType<{ readonly spec: EnvironmentSpec }> = z.object({ spec: environmentSchema });

export function assetsOf(transport: Transport): AssetLookup {
  const look = async <T>(folder: string, name: string, version: string | null, schema: z.ZodType<T>): Promise<T> => {
    const which = version === null ? 'labels/latest' : `versions/${segment(version)}`;
    const { value } = await transport.ask('GET', `/v1/${folder}/${segment(name)}/${which}`);
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw strangerError(transport.origin, `${folder}/${name} is not of the expected form`);
  };
  return {
    model: async (name, version) => await look('models', name, version, modelReply),
    environment: async (name, version) => (await look('environments', name, version, environmentReply)).spec,
  };
}
