/** What is registered with a coordinator: endpoints, deployments, models, data assets, environments, datastores, computes. */
import * as z from 'zod';
import { strangerError } from '../connection.ts';
import { limits } from '../../common/core/limits.ts';
import { segment, type Answered, type Transport } from './transport.ts';

/** A thing as the coordinator shows it; which keys it has beside its name is the coordinator's. */
export type Thing = Readonly<Record<string, unknown>> & { readonly name: string };

const thing: z.ZodType<Thing> = z.looseObject({ name: z.string() });
const page = z.looseObject({ value: z.array(thing), next: z.string().nullish() });

export const endpointPath = (endpoint: string): string => `/v1/endpoints/${segment(endpoint)}`;
export const deploymentPath = (endpoint: string, name: string = ''): string =>
  `${endpointPath(endpoint)}/deployments${name === '' ? '' : `/${segment(name)}`}`;

/** What the answer is about. @throws COORDINATOR_UNREACHABLE for an answer of another form */
export function thingOf(transport: Transport, { value }: Answered): Thing {
  const parsed = thing.safeParse(value);
  if (parsed.success) return parsed.data;
  throw strangerError(transport.origin, 'an answer has no name');
}

/** At most `max` things, asked for page by page. `path` may have a query. */
export async function listThings(
  transport: Transport,
  path: string,
  max: number = Infinity,
): Promise<readonly Thing[]> {
  const found: Thing[] = [];
  let cursor: string | null = null;
  do {
    const limit = Math.min(limits.clientPageMax, max - found.length);
    const next: string = cursor === null ? '' : `&cursor=${segment(cursor)}`;
    const { value } = await transport.ask('GET', `${path}${path.includes('?') ? '&' : '?'}limit=${limit}${next}`);
    const parsed = page.safeParse(value);
    if (!parsed.success) throw strangerError(transport.origin, 'an answer is no list');
    found.push(...parsed.data.value);
    cursor = parsed.data.next ?? null;
  } while (cursor !== null && found.length < max);
  return found.slice(0, max);
}
