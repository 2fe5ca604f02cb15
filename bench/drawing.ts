/* Charts as SVG: on a ground of their own, so that they can be read on light pages and on dark ones. */
import { type EChartsOption, init, type LegendComponentOption } from 'echarts';
import type { Axis, Series } from './report';

const WIDTH = 860;
const INK = '#1f2933';
const FAINT = '#d9dee5';
const GROUND = '#ffffff';

const OURS = '#2f9a76';
const OURS_CACHED = '#0b5d44';
const THEIRS = '#c8651b';
const THEIRS_OTHERWISE = '#9c7a54';
const NOTHING = '#8793a3';
const BY_HAND = '#5566c9';
const BY_HAND_LISTED = '#8f9be0';

/** One colour for a contestant in all charts. Other contestants take one of the rest. */
const COLOURS: Record<string, string> = {
  GET: NOTHING,
  floor: NOTHING,
  GETEX: BY_HAND,
  'GETEX, signed and listed': BY_HAND_LISTED,
  tokensession: OURS,
  checkToken: OURS,
  touchToken: OURS,
  'not cached': OURS,
  'tokensession, cached': OURS_CACHED,
  'checkToken, cached': OURS_CACHED,
  'touchToken, cached': OURS_CACHED,
  cached: OURS_CACHED,
  'connect-redis': THEIRS,
  "the host's own": THEIRS,
  'redis-sessions get': THEIRS,
  'in the cookie': THEIRS_OTHERWISE,
  'redis-sessions get, cached': THEIRS_OTHERWISE,
};
const OTHERS = ['#3b7dd8', '#b0418e', '#8a6d1f', '#5b4bb5', '#c0392b', '#2c8c99'];

interface Groups {
  title: string;
  /** Below the title: the unit, and which way is better. */
  unit: string;
  groups: string[];
  /** A value for each group; `null` where a group has none. */
  bars: { name: string; values: (number | null)[] }[];
  /** A value to compare all with. */
  line: { name: string; value: number };
}

/** Bars side by side, in groups. */
export function drawGroups({ title, unit, groups, bars, line }: Groups): string {
  return draw(460, {
    ...heading(title, unit),
    legend: legend(bars.map(({ name }) => name)),
    grid: { left: 60, right: 30, top: 110, bottom: 40 },
    xAxis: { type: 'category', data: groups, axisLabel: { color: INK, fontSize: 14 }, axisTick: { show: false } },
    yAxis: {
      type: 'value',
      axisLabel: { color: INK, formatter: '{value}%' },
      splitLine: { lineStyle: { color: FAINT } },
    },
    series: bars.map(({ name, values }, index) => ({
      type: 'bar' as const,
      name,
      data: values.map((value) => value ?? '-'),
      itemStyle: { color: colourOf(name, index) },
      barGap: '12%',
      barCategoryGap: '18%',
      label: {
        show: true,
        position: 'inside' as const,
        color: GROUND,
        fontWeight: 'bold' as const,
        formatter: ({ value }: { value?: unknown }) => `${Math.round(value as number)}%`,
      },
      ...(index === 0 && {
        markLine: {
          silent: true,
          symbol: 'none',
          lineStyle: { color: INK, type: 'dashed' as const },
          label: { position: 'insideEndTop' as const, color: INK, formatter: line.name },
          data: [{ yAxis: line.value }],
        },
      }),
    })),
  });
}

interface Bars {
  title: string;
  unit: string;
  bars: { name: string; value: number }[];
}

/** Bars below each other, on a logarithmic scale. */
export function drawLogBars({ title, unit, bars }: Bars): string {
  const values = bars.map(({ value }) => value);
  return draw(110 + 38 * bars.length, {
    ...heading(title, unit),
    grid: { left: 200, right: 70, top: 70, bottom: 40 },
    xAxis: {
      type: 'log',
      min: 10 ** Math.floor(Math.log10(Math.min(...values) / 1.5)),
      max: 10 ** Math.ceil(Math.log10(Math.max(...values))),
      axisLabel: { color: INK, formatter: shortNumber },
      splitLine: { lineStyle: { color: FAINT } },
    },
    yAxis: {
      type: 'category',
      inverse: true,
      data: bars.map(({ name }) => name),
      axisLabel: { color: INK, fontSize: 13 },
      axisTick: { show: false },
    },
    series: [
      {
        type: 'bar',
        data: bars.map(({ name, value }, index) => ({ value, itemStyle: { color: colourOf(name, index) } })),
        barCategoryGap: '30%',
        label: { show: true, position: 'right', color: INK, formatter: ({ value }) => shortNumber(value as number) },
      },
    ],
  });
}

/** Lines over a size. The percentiles of a contestant share colour and name: the higher one is dashed. */
export function drawSeries({ title, x, y, lines }: Series): string {
  const families = [...new Set(lines.map(({ name }) => familyOf(name)))];
  const isOfPercentiles = families.length < lines.length;
  const points = lines.flatMap((line) => line.points);
  return draw(450, {
    ...heading(title, isOfPercentiles ? `${y.label}; p50, and p99 dashed` : y.label),
    legend: legend(families),
    grid: { left: 70, right: 50, top: 110, bottom: 60 },
    xAxis: {
      ...scale(x),
      ...boundsOf(
        x,
        points.map((point) => point.x),
      ),
      name: x.label,
      nameLocation: 'middle',
      nameGap: 34,
      nameTextStyle: { color: INK, fontSize: 13 },
    },
    yAxis: {
      ...scale(y),
      ...boundsOf(
        y,
        points.map((point) => point.y),
      ),
    },
    series: lines.map((line) => {
      const name = familyOf(line.name);
      const colour = colourOf(name, families.indexOf(name));
      return {
        type: 'line' as const,
        name,
        data: line.points.map((point) => [point.x, point.y]),
        symbol: 'circle',
        symbolSize: line.points.length > 10 ? 0 : 6,
        lineStyle: { color: colour, width: 2, type: isUpper(line.name) ? ('dashed' as const) : ('solid' as const) },
        itemStyle: { color: colour },
      };
    }),
  });
}

function draw(height: number, option: EChartsOption): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  chart.setOption({
    animation: false,
    backgroundColor: GROUND,
    textStyle: { fontFamily: 'Arial, Helvetica, sans-serif', fontSize: 13, color: INK },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}

function heading(title: string, unit: string): EChartsOption {
  return {
    title: {
      text: title,
      subtext: unit,
      left: 16,
      top: 10,
      itemGap: 6,
      textStyle: { color: INK, fontSize: 17 },
      subtextStyle: { color: INK, fontSize: 13 },
    },
  };
}

function legend(names: readonly string[]): LegendComponentOption {
  return { top: 58, left: 16, right: 16, itemGap: 14, itemWidth: 20, textStyle: { color: INK }, data: [...names] };
}

function scale({ log }: Axis) {
  return {
    type: log ? ('log' as const) : ('value' as const),
    axisLabel: { color: INK, formatter: shortNumber },
    splitLine: { lineStyle: { color: FAINT } },
    axisLine: { show: true, lineStyle: { color: INK } },
  };
}

/** Only whole powers of ten: a logarithmic scale would begin a power early. */
function boundsOf({ log }: Axis, values: readonly number[]): { min?: number; max?: number } {
  if (!log) return {};
  return {
    min: 10 ** Math.floor(Math.log10(Math.min(...values))),
    max: 10 ** Math.ceil(Math.log10(Math.max(...values))),
  };
}

const isUpper = (name: string) => /\bp9\d/.test(name);
const familyOf = (name: string) => name.replace(/,? \(?p\d+(\.\d+)?\)?$/, '');
const colourOf = (name: string, index: number) => COLOURS[name] ?? (OTHERS[index % OTHERS.length] as string);

function shortNumber(value: number): string {
  return value >= 1e6 || value < 1
    ? value.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 })
    : value.toLocaleString('en', { maximumSignificantDigits: 3 });
}
