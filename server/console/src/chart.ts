// A chart of a few lines over time, as wide as its box.
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

const clock = (seconds: number) => new Date(seconds * 1000).toTimeString().slice(0, 8)

// `colors`: the names of style.css, a line each. `fromZero`: else the axis is about what there is.
export function timeChart(box: HTMLElement, height: number, colors: string[], fromZero: boolean): uPlot {
  const style = getComputedStyle(document.documentElement)
  const color = (name: string) => style.getPropertyValue(name)
  const axis = { stroke: color('--dim'), grid: { show: false }, ticks: { show: false } }
  const width = () => Math.max(200, box.clientWidth)
  const observer = new ResizeObserver(() => {
    if (box.clientWidth > 0 && plot.width !== width()) plot.setSize({ width: width(), height })
  })
  const plot = new uPlot({
    width: width(), height, padding: [null, 32, null, null], legend: { show: false }, cursor: { show: false },
    scales: fromZero ? { y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } } : {},
    axes: [
      { ...axis, size: 30, space: 90, values: (_plot, times) => times.map(clock) },
      { ...axis, size: 64 }],
    series: [{}, ...colors.map(name => ({ stroke: color(name), width: 1.5, points: { show: false } }))],
    hooks: { destroy: [() => observer.disconnect()] },
  }, [[], ...colors.map(() => [])], box)
  observer.observe(box)
  return plot
}
