/** What a listing passes over, by reason. */

export interface SkippedNames {
  /** Names that begin with `.` or `_`; a hidden folder counts once. */
  hidden: number;
  /** Sockets, pipes, devices. */
  special: number;
  /** Folders, where they are not to be explored. */
  folders: number;
  /** Links to a folder that they lie in. */
  loops: number;
  /** Files and folders that `include` and `exclude` leave out; a folder that is not looked into counts once. */
  excluded: number;
}

const words = {
  hidden: 'hidden',
  special: 'not regular files',
  folders: 'sub-folders',
  loops: 'links to a folder around them',
  excluded: 'excluded',
} as const satisfies Record<keyof SkippedNames, string>;

export function noneSkipped(): SkippedNames {
  return { hidden: 0, special: 0, folders: 0, loops: 0, excluded: 0 };
}

export function skippedTotal({ hidden, special, folders, loops, excluded }: Readonly<SkippedNames>): number {
  return hidden + special + folders + loops + excluded;
}

/** `10 hidden, 2 excluded`; empty when nothing was passed over. */
export function skippedReasons(skipped: Readonly<SkippedNames>): string {
  const reasons = Object.entries(words) as [keyof SkippedNames, string][];
  return reasons.flatMap(([key, word]) => (skipped[key] > 0 ? [`${skipped[key]} ${word}`] : [])).join(', ');
}
