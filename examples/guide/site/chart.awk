# chart.awk - draws the table of results of speed.md: a bar for each step, as long as the ratio of
# PyTorch's time by Lorikeet's. <!-- chart --> in the page is replaced by it.
function chart_from(page,    s, cell, n, name, ratio, count, i, top, svg, height) {
    count = 0
    top = 1
    while ((getline s <page) > 0) {
        n = split(s, cell, / *\| */)
        if (n != 8 || cell[7] !~ /^[0-9.]+$/) continue
        name[++count] = cell[2]
        ratio[count] = cell[7]
        if (ratio[count] > top && ratio[count] < 50) top = ratio[count]
    }
    close(page)
    if (!count) complain(page ": there is no table of results for the chart")
    height = 30 + 26 * count
    svg = "<figure class=\"chart\"><svg viewBox=\"0 0 640 " height "\" role=\"img\" " \
          "aria-label=\"PyTorch's time divided by Lorikeet's, for each step\">\n"
    for (i = 0; i <= top + 1; i += 2)
        svg = svg sprintf("<path class=\"grid\" d=\"M%.1f 0V%d\"/><text x=\"%.1f\" y=\"%d\" " \
                          "class=\"x\">%d</text>\n", at(i, top), height - 22, at(i, top), \
                          height - 6, i)
    for (i = 1; i <= count; i++) {
        n = ratio[i] < 50 ? ratio[i] : top + 1
        svg = svg sprintf("<text x=\"170\" y=\"%d\" class=\"y\">%s</text>", 26 * i - 8, name[i]) \
              sprintf("<rect x=\"180\" y=\"%d\" width=\"%.1f\" height=\"16\" rx=\"3\"/>", \
                      26 * i - 21, at(n, top) - 180) \
              sprintf("<text x=\"%.1f\" y=\"%d\" class=\"value\">%s</text>\n", at(n, top) + 6, \
                      26 * i - 8, ratio[i] (ratio[i] < 50 ? "" : " (bar cut)"))
    }
    return svg sprintf("<path class=\"one\" d=\"M%.1f 0V%d\"/>", at(1, top), height - 22) \
           "</svg><figcaption>PyTorch's time divided by Lorikeet's, with 2 threads. The line is " \
           "1: equally fast.</figcaption></figure>\n"
}

function at(x, top) { return 180 + x * 370 / (top + 1) }
