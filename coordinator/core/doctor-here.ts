/** What `doctor` says of the machine that it is typed on. Pure: from facts to lines. */
import { about, clockFinding, fail, ok, releaseFinding, runtimeFinding, warn } from './doctor-checks.ts';
import type { ClockOffset, DoctorLine, Finding } from './doctor-checks.ts';

export interface HereFacts {
  readonly release: string;
  /** Version of Node, and of `engines`. */
  readonly runtime: string;
  readonly runtimeWanted: string;
  /** `https://host:port` */
  readonly origin: string;
  /** Fingerprint of the context's authority; null: one that the system trusts, or none. */
  readonly authority: string | null;
  readonly hasToken: boolean;
  /** Plain HTTP. */
  readonly isInsecure: boolean;
  readonly isLoopback: boolean;
  /** What came of the first request. */
  readonly reached: Reached;
}

export type Reached =
  | { readonly kind: 'answered'; readonly release: string; readonly clock: ClockOffset; readonly tripMs: number }
  /** Nobody answers, or not a coordinator. */
  | { readonly kind: 'unreachable'; readonly message: string; readonly help: string }
  /** Somebody else's certificate. */
  | { readonly kind: 'untrusted'; readonly message: string; readonly help: string }
  /** It answers, but not to this token. */
  | { readonly kind: 'refused'; readonly message: string; readonly help: string };

export function hereLines(facts: HereFacts): readonly DoctorLine[] {
  const { reached, release, runtime, runtimeWanted } = facts;
  const own = reached.kind === 'answered' ? releaseFinding(release, reached.release) : ok('release', release);
  return about('here', [own, runtimeFinding(runtime, runtimeWanted), ...reachFindings(facts)]);
}

function reachFindings({ reached, ...facts }: HereFacts): readonly Finding[] {
  switch (reached.kind) {
    case 'unreachable':
      return [fail('address', reached.message, reached.help)];
    case 'untrusted':
      return [ok('address', `${facts.origin} answers`), fail('tls', reached.message, reached.help)];
    case 'refused':
      return [
        ok('address', `${facts.origin} answers`),
        tlsFinding(facts),
        fail('token', reached.message, reached.help),
      ];
    case 'answered': {
      const address = ok('address', `${facts.origin} answers in ${Math.round(reached.tripMs)} ms`);
      return [address, tlsFinding(facts), tokenFinding(facts), clockFinding(reached.clock)];
    }
  }
}

type Facts = Omit<HereFacts, 'reached'>;

function tlsFinding({ isInsecure, isLoopback, authority }: Facts): Finding {
  if (!isInsecure)
    return ok('tls', authority === null ? 'an authority that this system trusts' : `authority ${authority}`);
  if (isLoopback) return ok('tls', 'none, on this machine alone');
  const mend = 'start the coordinator without --insecure, and take its context';
  return warn('tls', 'none: whoever is on the way may read and change everything', mend);
}

function tokenFinding({ isInsecure, hasToken }: Facts): Finding {
  if (isInsecure) return ok('token', 'none is wanted');
  return ok('token', hasToken ? 'accepted' : 'none is shown, and none was wanted');
}
