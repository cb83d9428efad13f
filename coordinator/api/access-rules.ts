/** Which role a request needs, by its method and the pattern of its route. What no line names, only an admin may do. */
import { roles, type Role } from './caller.ts';

/** `open`: anybody, without a token. */
export type Need = Role | 'open';

interface Rule {
  readonly methods: readonly string[];
  readonly route: RegExp;
  readonly need: Need;
}

const looking = ['GET', 'HEAD'];

/** The first that fits counts. */
const rules: readonly Rule[] = [
  { methods: looking, route: /^\/(healthz|readyz)$/, need: 'open' },
  // Who may do what, and who did what.
  { methods: looking, route: /^\/v1\/(tokens|audit|secrets)(\/|$)/, need: 'admin' },
  { methods: looking, route: /^/, need: 'reader' },
  { methods: ['POST'], route: /^\/v1\/jobs$/, need: 'invoker' },
  { methods: ['POST'], route: /^\/v1\/artifacts$/, need: 'invoker' },
  { methods: ['POST'], route: /^\/(v1|azure)\/endpoints\/:\w+\/jobs$/, need: 'invoker' },
  // Of one's own jobs and schedules; of others' only an admin, see `requireOwner`.
  { methods: ['POST'], route: /^\/v1\/jobs\/:\w+\/(cancel|pause|resume|retry)$/, need: 'invoker' },
  { methods: ['PATCH'], route: /^\/v1\/jobs\/:\w+$/, need: 'invoker' },
  { methods: ['PUT', 'DELETE'], route: /^\/v1\/schedules\/:\w+$/, need: 'invoker' },
  { methods: ['POST'], route: /^\/v1\/schedules\/:\w+\/(pause|resume)$/, need: 'invoker' },
];

/** `route`: the pattern, such as `/v1/jobs/:name`; null where no route fits, which everybody who is known may hear. */
export function roleFor(method: string, route: string | null): Need {
  if (route === null) return 'reader';
  return rules.find((rule) => rule.methods.includes(method) && rule.route.test(route))?.need ?? 'admin';
}

/** Each role may what those below it may. */
export function mayDo(role: Role, need: Need): boolean {
  return need === 'open' || roles.indexOf(role) >= roles.indexOf(need);
}

/** Whether the request acts on one job, whose owner it must then come from. */
export function actsOnJob(method: string, route: string): boolean {
  return !looking.includes(method) && /^\/v1\/jobs\/:\w+(\/|$)/.test(route);
}
