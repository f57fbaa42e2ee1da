/**
 * Spots drawn over the map on a canvas of their own.
 *
 * Thousands of spots move several times a second. As a layer of MapLibre each change would be cut
 * into tiles anew and the whole map painted, which without a graphics card takes a second. Here a
 * change is one pass of small pictures, and the map below is not touched. While somebody drags the
 * map, what is drawn moves along as a whole, and is drawn anew at the next change or at the end.
 */

import type { Map as Below } from "maplibre-gl";
import { nearest, placed, shift, worldX, worldY, type Layer, type Look, type Placed, type View } from "./layers.ts";

const SIZE = 18;
const REACH = 14;
const RING = "#0b6b53";
const BLUE = "#1a63c6";
const EDGE = "#ffffff";

/** Each look by shape: ring, disc, cross, square, filled square, triangle, diamond. */
const SHAPES: Record<Look, (pen: CanvasRenderingContext2D) => void> = {
  free: (pen) => {
    disc(pen, 5);
    fill(pen, EDGE);
    stroke(pen, RING, 3);
  },
  busy: (pen) => {
    disc(pen, 5.5);
    fill(pen, BLUE);
    stroke(pen, EDGE, 1.5);
  },
  gone: (pen) => {
    lines(pen, [[-3.5, -3.5], [3.5, 3.5]]);
    lines(pen, [[-3.5, 3.5], [3.5, -3.5]], false);
    stroke(pen, "#6d7a73", 2.5);
  },
  order: (pen) => {
    square(pen, 2.5);
    fill(pen, "#9aa8a1");
  },
  under_way: (pen) => {
    square(pen, 4);
    fill(pen, BLUE);
    stroke(pen, EDGE, 1);
  },
  at_risk: (pen) => {
    lines(pen, [[0, -6], [6, 5], [-6, 5], [0, -6]]);
    fill(pen, "#e09b1a");
    stroke(pen, EDGE, 1);
  },
  late: (pen) => {
    lines(pen, [[0, -7.5], [7.5, 0], [0, 7.5], [-7.5, 0], [0, -7.5]]);
    fill(pen, "#d0342c");
    stroke(pen, EDGE, 1.5);
  },
};

export class Spots {
  private readonly canvas = document.createElement("canvas");
  private readonly pictures = new Map<Look, HTMLCanvasElement>();
  private readonly sharp = Math.min(2, devicePixelRatio || 1);
  private layers: readonly Layer[] = [];
  private drawn: Placed[] = [];
  private view: View | null = null;
  private frame = 0;

  constructor(
    private readonly map: Below,
    onPick: (layer: Layer["name"], id: string) => void,
  ) {
    this.canvas.className = "map-spots";
    map.getCanvasContainer().append(this.canvas);
    map.on("move", this.moveAlong);
    map.on("moveend", this.soon);
    map.on("resize", this.soon);
    map.on("click", ({ point }) => {
      const found = nearest(this.drawn, point.x, point.y, REACH);
      if (found) onPick(found.layer, found.spot.id);
    });
    map.on("mousemove", ({ point }) => {
      if (map.isMoving()) return;
      map.getCanvas().style.cursor = nearest(this.drawn, point.x, point.y, REACH) ? "pointer" : "";
    });
  }

  show(layers: readonly Layer[]): void {
    this.layers = layers;
    this.soon();
  }

  remove(): void {
    cancelAnimationFrame(this.frame);
    this.canvas.remove();
  }

  /** Draw in the next frame, however often it is asked for until then. */
  private readonly soon = (): void => {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  };

  private readonly moveAlong = (): void => {
    if (this.view === null) return;
    const { x, y, scale } = shift(this.view, this.viewNow());
    this.canvas.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  };

  private viewNow(): View {
    const { clientWidth: width, clientHeight: height } = this.map.getContainer();
    const { lng, lat } = this.map.getCenter();
    return { x: worldX(lng), y: worldY(lat), world: 512 * 2 ** this.map.getZoom(), width, height };
  }

  private draw(): void {
    const view = this.viewNow();
    const { width, height } = view;
    const pixels = [Math.round(width * this.sharp), Math.round(height * this.sharp)] as const;
    if (this.canvas.width !== pixels[0] || this.canvas.height !== pixels[1]) [this.canvas.width, this.canvas.height] = pixels;
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    this.view = view;
    this.canvas.style.transform = "";
    this.drawn = placed(this.layers, view, SIZE);
    pen.setTransform(this.sharp, 0, 0, this.sharp, 0, 0);
    pen.clearRect(0, 0, width, height);
    for (const { spot, x, y } of this.drawn) pen.drawImage(this.picture(spot.look), x - SIZE / 2, y - SIZE / 2, SIZE, SIZE);
  }

  private picture(look: Look): HTMLCanvasElement {
    const known = this.pictures.get(look);
    if (known) return known;
    const made = document.createElement("canvas");
    made.width = made.height = SIZE * this.sharp;
    const pen = made.getContext("2d");
    if (pen) {
      pen.scale(this.sharp, this.sharp);
      pen.translate(SIZE / 2, SIZE / 2);
      SHAPES[look](pen);
    }
    this.pictures.set(look, made);
    return made;
  }
}

function disc(pen: CanvasRenderingContext2D, radius: number): void {
  pen.beginPath();
  pen.arc(0, 0, radius, 0, 2 * Math.PI);
}

function square(pen: CanvasRenderingContext2D, half: number): void {
  pen.beginPath();
  pen.rect(-half, -half, 2 * half, 2 * half);
}

function lines(pen: CanvasRenderingContext2D, points: readonly (readonly [number, number])[], isNew = true): void {
  if (isNew) pen.beginPath();
  points.forEach(([x, y], index) => (index === 0 ? pen.moveTo(x, y) : pen.lineTo(x, y)));
}

function fill(pen: CanvasRenderingContext2D, colour: string): void {
  pen.fillStyle = colour;
  pen.fill();
}

function stroke(pen: CanvasRenderingContext2D, colour: string, width: number): void {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
}
