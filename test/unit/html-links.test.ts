import { describe, expect, it } from 'vitest';
import { keysBelow, linksOf } from '../../common/storage/html-links.ts';

const address = 'http://host/in/';

function keys(html: string, at: string = address): readonly string[] {
  return keysBelow(linksOf(html, at), new URL(at));
}

describe('links of a folder', () => {
  it('nginx', () => {
    const html = `<html><head><title>Index of /in/</title></head><body><h1>Index of /in/</h1><hr><pre><a href="../">../</a>
<a href="sub/">sub/</a>      21-Nov-2026 10:00       -
<a href="a%20b%2525.txt">a b%25.txt</a>    21-Nov-2026 10:00      12
<a href="a-very-long-name-that-is-cut.txt">a-very-long-name-that-..&gt;</a></pre></body></html>`;
    expect(keys(html)).toEqual(['sub/', 'a b%25.txt', 'a-very-long-name-that-is-cut.txt']);
  });

  it('Apache, whose columns sort the page anew', () => {
    const html = `<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr><tr><td><a href="x&amp;y.csv">x&amp;y.csv</a><td>12K</tr>
<tr><td><A HREF='unquoted.txt'>u</A></tr></table>`;
    expect(keys(html)).toEqual(['x&y.csv', 'unquoted.txt']);
  });

  it('takes what lies below, once, wherever the page has its base', () => {
    const html = `<base href="/in/"><a href="one">1</a><a href="./one">again</a><a href="http://host/in/two">2</a>
<a href="deep/er/file">3</a><a href="//host/in/three#part">4</a><a name="no-link">5</a>`;
    expect(keys(html)).toEqual(['one', 'two', 'deep/er/file', 'three']);
  });

  it.each([
    ['back', '<a href="..">x</a><a href="../in2/x">x</a><a href="/in">x</a>'],
    ['to itself', '<a href=".">x</a><a href="">x</a><a href="#top">x</a>'],
    ['to others', '<a href="https://host/in/x">x</a><a href="http://other/in/x">x</a><a href="mailto:a@b">x</a>'],
    ['to names that are none', '<a href="a%2Fb">x</a><a href="a%00">x</a><a href="%ff">x</a>'],
    ['that are no addresses', '<a href="http://[">x</a><a href="javascript:void(0)">x</a>'],
  ])('passes over links %s', (_, html) => {
    expect(keys(html)).toEqual([]);
  });
});
