/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A topology as a picture: the places of boxes, frames and texts (topology-layout.c), independent of the
 * format (topology-svg.c). Pure. Lengths are in pixels. */

#include "client/topology.h"

#define PICTURE_LINES_MAX (2U + _TOPOLOGY_NOTE_MAX)
#define PICTURE_FRAME_LINES_MAX 8U
#define PICTURE_LINE_HEIGHT 16
#define PICTURE_PADDING 8

/* The width of this many characters in the widest usual monospace font. */
int picture_text_width(size_t n_characters);

typedef struct PictureLine {
    char *text; /* owned; sanitized */
    Colour colour;
} PictureLine;

/* A device. */
typedef struct PictureBox {
    int x, y, width, height;
    char *name; /* owned; sanitized; beginning of the first line */
    PictureLine lines[PICTURE_LINES_MAX];
    size_t n_lines;
    char *group;   /* owned: "group 7", at the right end of the first line; NULL: none, or its frame has it */
    Colour colour; /* of its most important note */
} PictureBox;

/* Consecutive members of a group with several members. */
typedef struct PictureFrame {
    int x, y, width, height;
    size_t group;
    char *lines[PICTURE_FRAME_LINES_MAX]; /* owned */
    size_t n_lines;
} PictureFrame;

typedef struct PictureHeading {
    int x, y;   /* of its base line */
    char *text; /* owned */
} PictureHeading;

/* An entry of the legend. */
typedef struct PictureKey {
    int x;
    const char *class, *text; /* static */
} PictureKey;
#define PICTURE_KEYS_MAX 5U
#define PICTURE_KEYS_Y 52 /* of their base line */

typedef struct Picture {
    const Topology *topology; /* borrowed */
    int width, height;
    PictureBox *boxes;    /* owned; one for each node, in their order */
    PictureFrame *frames; /* owned */
    size_t n_frames;
    PictureHeading *roots;   /* owned; one for each root, in their order */
    PictureHeading *columns; /* owned; NUMA nodes, if there are several */
    size_t n_columns;
    PictureKey keys[PICTURE_KEYS_MAX]; /* those that are needed */
    size_t n_keys;
} Picture;

void picture_done(Picture *p);
/* 0 or -ENOMEM. */
int picture_lay_out(const Topology *t, Picture *ret);
/* Owned by the caller; NULL on ENOMEM. */
char *picture_to_svg(const Picture *p);
