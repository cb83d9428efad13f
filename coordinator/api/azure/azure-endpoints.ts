/** The registry as Azure's data plane asks it. */
import { invokeBody } from '../invocations.ts';
import type { ApiRegistry } from '../server.ts';
import type { AzureEndpoints } from './azure-routes.ts';

export function azureEndpoints({ backend, invocations }: ApiRegistry): AzureEndpoints {
  return {
    endpoint: (name) => {
      const found = backend.endpoints().find((one) => one.name.toLowerCase() === name.toLowerCase());
      if (!found) return null;
      const deployments = backend.deployments(found.name).map((one) => one.name);
      return { default: found.defaults.deployment_name, deployments };
    },
    invoke: (endpoint, body, caller, key) => invocations.invoke(endpoint, invokeBody.parse(body), caller, key),
  };
}
