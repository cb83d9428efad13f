/** Parts of large files: those of one file follow one another and tile it, as one content. */
import type { ErrorLine, FileLine } from '../output/sealed-lines.ts';
import type { FindingKind } from './findings.ts';

interface Found {
  readonly kind: FindingKind;
  readonly message: string;
}

export const isSamePart = (a: Pick<ErrorLine, 'part'>, b: Pick<FileLine, 'part'>): boolean =>
  a.part?.[0] === b.part?.[0] && a.part?.[1] === b.part?.[1];

export class PartWalk {
  #last: FileLine | null = null;
  /** Behind lines that are lost, a file may begin with any of its parts. */
  #isResuming = false;

  resume(): void {
    this.#last = null;
    this.#isResuming = true;
  }

  take(line: FileLine): readonly Found[] {
    const found: Found[] = [];
    const last = this.#last;
    const follows = last !== null && last.path === line.path;
    if (last !== null && !follows) found.push(...this.end());
    const isResuming = this.#isResuming;
    this.#isResuming = false;
    this.#last = line.part === undefined ? null : line;
    if (line.part === undefined) {
      if (follows) found.push(wrong('overlap', line, 'is all of a file of which there are parts before it'));
      return found;
    }
    const [begin, end] = line.part;
    if (end < begin || end - begin !== line.size_bytes) {
      found.push(wrong('inconsistent', line, `has ${line.size_bytes} bytes, which its range denies`));
    }
    const wanted = follows ? (last.part?.[1] ?? 0) : 0;
    if (begin !== wanted && !(isResuming && !follows)) {
      const kind = begin > wanted ? 'gap' : 'overlap';
      found.push(wrong(kind, line, `does not begin where the part before it ends, at byte ${wanted}`));
    }
    if (follows && last.identity !== line.identity) {
      found.push(wrong('inconsistent', line, `is of another content than the part before it (${last.identity})`));
    }
    return found;
  }

  /** The last part of a file ends with it, as far as its identity tells its size. */
  end(): readonly Found[] {
    const last = this.#last;
    this.#last = null;
    const bytes = last && /^(\d+)-/.exec(last.identity)?.[1];
    if (!last?.part || !bytes || Number(bytes) === last.part[1]) return [];
    return [wrong('gap', last, `is the last part of a file of ${bytes} bytes`)];
  }
}

function wrong(kind: FindingKind, { ordinal, path, part }: FileLine, what: string): Found {
  const range = part === undefined ? '' : `, bytes ${part[0]} to ${part[1]}`;
  return { kind, message: `file ${ordinal} (${path}${range}) ${what}` };
}
