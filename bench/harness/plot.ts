/** The table as a picture: for each workload a bar for each contender, as long as its throughput. */
import type { Line } from './report.ts';
import { escaped } from './svg-text.ts';

const [labelWidth, barWidth, barHeight, gap] = [230, 460, 16, 34] as const;
const colours: Readonly<Record<string, string>> = { batchmill: '#0b6e4f', ceiling: '#9aa0a6' };
const otherColour = '#c7762f';

/** An SVG. Bars of one workload share a scale that ends at the fastest of them. */
export function plotOf(lines: readonly Line[]): string {
  const groups = [...new Set(lines.map(groupOf))].map((group) => lines.filter((line) => groupOf(line) === group));
  let top = 24;
  const drawn = groups.map((group) => {
    const begin = top;
    top += gap + group.length * (barHeight + 4);
    return drawGroup(group, begin);
  });
  const width = labelWidth + barWidth + 220;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${top}" fill="white"/>`,
    ...drawn,
    '</svg>\n',
  ].join('\n');
}

const groupOf = ({ title, temperature }: Line): string => `${title}, ${temperature}`;

function drawGroup(group: readonly Line[], top: number): string {
  const fastest = Math.max(...group.map(({ perSecond }) => perSecond));
  const [first] = group;
  const bars = group.map((line, place) => {
    const y = top + 10 + place * (barHeight + 4);
    const width = Math.max(1, (barWidth * line.perSecond) / fastest);
    const share = line.ceilingPercent === null ? '' : `, ${line.ceilingPercent.toFixed(0)} % of the ceiling`;
    const value = `${Math.round(line.perSecond).toLocaleString('en')} ${line.unit}/s${share}`;
    return [
      `<text x="${labelWidth - 8}" y="${y + 12}" text-anchor="end">${escaped(line.contender)}</text>`,
      `<rect x="${labelWidth}" y="${y}" width="${width.toFixed(1)}" height="${barHeight}" fill="${colours[line.contender] ?? otherColour}"/>`,
      `<text x="${labelWidth + width + 6}" y="${y + 12}">${escaped(value)}</text>`,
    ].join('\n');
  });
  return [`<text x="8" y="${top}" font-weight="bold">${first ? escaped(groupOf(first)) : ''}</text>`, ...bars].join(
    '\n',
  );
}
