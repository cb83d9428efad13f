/** Which of several interpreters comes nearest to what a conda file asks for. Pure. */

export type Version = readonly [major: number, minor: number, patch: number];

export interface Interpreter {
  /** Absolute, the binary itself. */
  readonly path: string;
  readonly version: Version;
  /** It can make virtual environments by itself: `venv` and `ensurepip` are there. */
  readonly hasVenv: boolean;
}

export interface Choice {
  readonly interpreter: Interpreter;
  /** What was asked for, when it is not what was found: `3.8.5`. */
  readonly wanted: string | null;
  /** The found one is of the wanted minor version, or nothing was wanted. */
  readonly isSameMinor: boolean;
}

/** Oldest Python that the scoring host runs on. */
const oldest: Version = [3, 8, 0];

/**
 * The nearest to `wanted` (`=3.8.5`, `>=3.7,<3.10`; empty or null: any): the same minor version, the nearest patch of it;
 * else the next newer minor version, else the newest older one. Among equals the first of the list. Null when there is none.
 */
export function chooseInterpreter(wanted: string | null, interpreters: readonly Interpreter[]): Choice | null {
  const usable = interpreters.filter(({ version }) => compare(version, oldest) >= 0);
  const [first] = usable;
  if (first === undefined) return null;
  const clauses = readClauses(wanted ?? '');
  const target = clauses.find(({ operator }) => operator === '=' || operator === '==' || operator === '~=');
  const exact = usable.filter(({ version }) => clauses.every((clause) => isMet(clause, version)));
  const [met] = exact;
  if (met !== undefined) return { interpreter: met, wanted: null, isSameMinor: true };
  const goal = goalOf(target ?? clauses[0]);
  const nearest = [...usable].sort((a, b) => distance(a.version, goal) - distance(b.version, goal))[0] ?? first;
  return {
    interpreter: nearest,
    wanted: target === undefined ? (wanted ?? '') : formatDigits(target.digits),
    isSameMinor: target !== undefined && compare(minorOf(nearest.version), minorOf(goal)) === 0,
  };
}

export function formatVersion(version: Version): string {
  return version.join('.');
}

interface Clause {
  readonly operator: string;
  readonly digits: readonly number[];
}

function readClauses(text: string): readonly Clause[] {
  return text.split(/[,|]/).flatMap((part) => {
    const match = /^(===?|=|>=|<=|!=|~=|>|<)?\s*(\d+(?:\.\d+)*)/.exec(part.trim());
    if (!match) return [];
    return [{ operator: match[1] ?? '=', digits: (match[2] as string).split('.').map(Number) }];
  });
}

function isMet({ operator, digits }: Clause, version: Version): boolean {
  const order = compare(version, [digits[0] ?? 0, digits[1] ?? 0, digits[2] ?? 0]);
  const isWithin = digits.every((digit, place) => version[place] === digit);
  switch (operator) {
    case '>=':
      return order >= 0;
    case '>':
      return order > 0 && !isWithin;
    case '<=':
      return order <= 0 || isWithin;
    case '<':
      return order < 0;
    case '!=':
      return !isWithin;
    case '~=':
      return order >= 0 && digits.slice(0, -1).every((digit, place) => version[place] === digit);
    default:
      return isWithin;
  }
}

function goalOf(clause: Clause | undefined): Version {
  const [major = 3, minor = 8, patch = 0] = clause?.digits ?? [];
  // Below 3.10 is 3.9.
  return clause?.operator === '<' && minor > 0 ? [major, minor - 1, 0] : [major, minor, patch];
}

/** Same minor version before newer ones, near before far, those before older ones. */
function distance([major, minor, patch]: Version, [wantedMajor, wantedMinor, wantedPatch]: Version): number {
  const minors = (major - wantedMajor) * 1_000 + (minor - wantedMinor);
  if (minors === 0) return Math.abs(patch - wantedPatch) / 1_000;
  return minors > 0 ? minors : 1_000_000 - minors;
}

function minorOf([major, minor]: Version): Version {
  return [major, minor, 0];
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

function formatDigits(digits: readonly number[]): string {
  return digits.join('.');
}
