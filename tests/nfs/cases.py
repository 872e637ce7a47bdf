# SPDX-License-Identifier: GPL-2.0-or-later
"""All cases of the matrix, and a cell by its name."""
import cell as cells
import cases_cost
import cases_faults
import cases_files
import cases_guest
import cases_locks
import cases_migration
import cases_modes
import cases_names
import cases_partition
import cases_scenarios
import cases_steps

MODULES = (cases_migration, cases_modes, cases_guest, cases_files, cases_scenarios, cases_locks,
           cases_faults, cases_names, cases_partition, cases_steps, cases_cost)
CASES = {case.name.replace(" ", "-"): case for module in MODULES for case in module.CASES}


def by_name():
    """A function from a cell's name to the cell."""
    images = {str(image): image for image in cells.IMAGES}
    variants = {str(variant): variant for variant in cells.ALL_VARIANTS}

    def find(name):
        stack, case, image, variant = name.split("/")
        return cells.Cell(stack, CASES[case], images[image], variants[variant])
    return find
